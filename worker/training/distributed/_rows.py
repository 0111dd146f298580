"""An optimizer of weights that ranks divide: each moves its own rows of them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from worker.training import parts


class RowOptimizer(torch.optim.Optimizer):
    """Its groups hold the divided weights, so that clipping and the scaler of the loss see gradients of the whole.

    The steps are those of the whole optimizer's own kernels, fused where they are, on plain tensors in the same memory:
    of torch's fused ones, not all know divided tensors (2.11 to 2.13). Moments show as divided, too.
    """

    def __init__(self, whole: torch.optim.Optimizer) -> None:
        super().__init__(whole.param_groups, {})
        groups = [group | {"params": [_rows(each) for each in group["params"]]} for group in self.param_groups]
        self._inner = type(whole)(groups)  # type: ignore[call-arg]
        for weight, rows in self._pairs():
            for name, value in whole.state.get(weight, {}).items():
                self._inner.state[rows][name] = parts.own(value)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """By the gradients of the divided weights, and the rates of their groups."""
        for group, inner in zip(self.param_groups, self._inner.param_groups, strict=True):
            inner.update({name: value for name, value in group.items() if name != "params"})
        for weight, rows in self._pairs():
            rows.grad = None if weight.grad is None else parts.own(weight.grad)
        self._inner.step()
        for _, rows in self._pairs():
            rows.grad = None  # or it would outlive `zero_grad`

    def state_dict(self) -> dict[str, Any]:
        """As one process has it, of divided tensors."""
        state = {
            number: {name: _as_divided(value, weight) for name, value in self._inner.state[rows].items()}
            for number, (weight, rows) in enumerate(self._pairs())
            if rows in self._inner.state
        }
        return {"state": state, "param_groups": self._numbered()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """From a whole state, or one that any number of ranks wrote their parts of."""
        saved = state_dict["state"]
        state = {
            number: {name: _share(value, weight) for name, value in saved[number].items()}
            for number, (weight, _) in enumerate(self._pairs())
            if number in saved
        }
        self._inner.load_state_dict({"state": state, "param_groups": state_dict["param_groups"]})
        for group, inner in zip(self.param_groups, self._inner.param_groups, strict=True):
            group.update({name: value for name, value in inner.items() if name != "params"})

    def _pairs(self) -> list[tuple[Any, Tensor]]:
        """Each divided weight, and this rank's rows of it."""
        groups = zip(self.param_groups, self._inner.param_groups, strict=True)
        return [pair for group, inner in groups for pair in zip(group["params"], inner["params"], strict=True)]

    def _numbered(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = self._inner.state_dict()["param_groups"]
        return groups


def _rows(weight: Tensor) -> Tensor:
    """As a leaf of its own, in the same memory."""
    return parts.own(weight).detach()


def _as_divided(value: Any, weight: Any) -> Any:
    """A moment as its weight is divided; counters are the same on every rank."""
    if not isinstance(value, Tensor) or value.shape != parts.own(weight).shape:
        return value
    mesh, placements = weight.device_mesh, weight.placements
    return DTensor.from_local(value, mesh, placements, run_check=False, shape=weight.shape, stride=weight.stride())


def _share(value: Any, weight: Tensor) -> Any:
    """This rank's rows of a saved moment."""
    divided = isinstance(value, parts.Pieces) or (isinstance(value, Tensor) and value.shape == weight.shape)
    return parts.kept(value, weight) if divided else value
