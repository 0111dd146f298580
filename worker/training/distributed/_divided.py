"""An optimizer whose moments the ranks divide among themselves (ZeRO stage 1, arXiv 1910.02054).

torch's ZeroRedundancyOptimizer decides who has what, and sends the weights around after each step. Its states are put
together here: torch's own way sends every rank's to all ranks, and moves the count of steps to the CPU, where fused
kernels on a GPU do not find it.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

with warnings.catch_warnings():  # other optimizers of that package are compiled in a way that torch 2.13 gives up
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch.distributed.optim import ZeroRedundancyOptimizer


def divided(whole: torch.optim.Optimizer) -> "Divided":
    """The same optimizer over the same weights, of which this rank moves a part."""
    return Divided(whole.param_groups, type(whole))


class Divided(ZeroRedundancyOptimizer):
    """`state_dict` is this rank's part, by the weights' numbers among all; `joined` makes the whole of all parts."""

    def __init__(self, groups: Sequence[dict[str, Any]], kind: type[torch.optim.Optimizer]) -> None:
        self._fused = any(group.get("fused") for group in groups)
        options = {"fused": True} if self._fused else {}
        super().__init__(groups, kind, lr=groups[0]["lr"], **options)

    def state_dict(self) -> dict[str, Any]:
        numbers = {id(parameter): number for number, parameter in enumerate(_weights(self.param_groups))}
        state = {numbers[id(parameter)]: moments for parameter, moments in self.optim.state.items()}
        return {"state": state, "param_groups": _numbered(self.param_groups)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # type: ignore[override, unused-ignore]
        """From a whole state, of one process or of any number."""
        numbers = {id(parameter): number for number, parameter in enumerate(_weights(self.param_groups))}
        own = [numbers[id(parameter)] for parameter in _weights(self.optim.param_groups)]
        saved = state_dict["state"]
        for group, other in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({name: value for name, value in other.items() if name != "params"})
        state = {place: saved[number] for place, number in enumerate(own) if number in saved}
        self.optim.load_state_dict({"state": state, "param_groups": _numbered(self.optim.param_groups)})


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole state of an optimizer, as one that is not divided has it; `parts` are those of all ranks."""
    state = {number: moments for part in parts for number, moments in part["state"].items()}
    return {"state": dict(sorted(state.items())), "param_groups": parts[0]["param_groups"]}


def _weights(groups: Sequence[dict[str, Any]]) -> list[torch.Tensor]:
    return [parameter for group in groups for parameter in group["params"]]


def _numbered(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups as a state has them: weights are counted through all groups."""
    found, first = [], 0
    for group in groups:
        after = first + len(group["params"])
        found.append(group | {"params": list(range(first, after))})
        first = after
    return found
