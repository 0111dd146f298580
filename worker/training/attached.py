"""Methods that take part in training: they hang on a network while it is trained, and leave no trace on it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from app.contract.work import RunOrder
from worker.training.card import Scaling
from worker.training.precision import Precision

# N = samples of this rank in a step, K = classes

Judge = Callable[[Tensor, Tensor], tuple[Tensor, list[Tensor]]]
"""From the loss and the network's scores (N x K) to the loss that is minimised and what is published of it."""


@dataclass(frozen=True)
class Course:
    """What a method may know of the training that it joins. The same on every rank but for `device`."""

    order: RunOrder
    classes: Sequence[str]
    scaling: Scaling
    """Of the images that the network is given."""
    precision: Precision
    device: torch.device
    largest: Callable[[Tensor], Tensor]
    """The element-wise maximum of a tensor over all ranks, the same bits on each. Every rank must call it."""
    pointer: str = ""
    """JSON Pointer of the method in the spec, for refusals."""


class Attached:
    """A method at work. Whatever it does not do stays as it is here: nothing."""

    metrics: tuple[str, ...] = ()
    """Names of what `judge` publishes, each the mean of a step's samples."""

    unpacked: int = 0
    """How many more tensors of an activation's size there are at a time in the backward pass."""

    @property
    def blocks(self) -> list[nn.Module]:
        """Those that are computed again in the backward pass."""
        return []

    def begin_step(self, epoch: int) -> None:
        """Before each optimizer step, in an epoch counted from 0."""

    def begin_pass(self, counts: bool) -> None:
        """Before each forward pass of a step. `counts`: false where another rank has the same samples, and theirs is

        what counts.
        """

    def judge(self, images_NCHW: Tensor) -> Judge | None:
        """Look at images before the network does; answers how its scores change the loss. Under autocast."""

    def end_step(self) -> None:
        """After each optimizer step, on every rank: they may talk here."""

    def state(self) -> dict[str, Tensor]:
        """What a resumed run must know, the same on every rank."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from there."""

    def detach(self) -> None:
        """Give the network back as it was."""


@dataclass
class Methods:
    """All that hang on one network, by kind, in the order of the spec."""

    attached: dict[str, Attached] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of all, in order."""
        return tuple(name for each in self.attached.values() for name in each.metrics)

    @property
    def unpacked(self) -> int:
        """Of all."""
        return sum(each.unpacked for each in self.attached.values())

    @property
    def blocks(self) -> list[nn.Module]:
        """Of all."""
        return [block for each in self.attached.values() for block in each.blocks]

    def begin_step(self, epoch: int) -> None:
        for each in self.attached.values():
            each.begin_step(epoch)

    def begin_pass(self, counts: bool) -> None:
        for each in self.attached.values():
            each.begin_pass(counts)

    def judge(self, images_NCHW: Tensor) -> Judge:
        """Of all: each is given the loss that the one before it left."""
        judges = [judge for each in self.attached.values() if (judge := each.judge(images_NCHW))]

        def judged(loss: Tensor, logits_NK: Tensor) -> tuple[Tensor, list[Tensor]]:
            published: list[Tensor] = []
            for judge in judges:
                loss, more = judge(loss, logits_NK)
                published += more
            return loss, published

        return judged

    def end_step(self) -> None:
        for each in self.attached.values():
            each.end_step()

    def state(self) -> dict[str, dict[str, Tensor]]:
        """By kind; empty for methods that remember nothing."""
        states = {kind: each.state() for kind, each in self.attached.items()}
        return {kind: state for kind, state in states.items() if state}

    def load(self, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        for kind, state in states.items():
            self.attached[kind].load(state)

    def detach(self) -> None:
        """The last one attached goes first: each gives back what it found."""
        for each in reversed(self.attached.values()):
            each.detach()
        self.attached.clear()


Forward = Callable[..., object]


class Forwards:
    """Other ways to call modules: each is given the module's own `forward`, and may call it.

    Set on the instance, where `nn.Module.__call__` looks first; names, weights and classes stay as they are.
    """

    def __init__(self) -> None:
        self._undo = ExitStack()

    def replace(self, module: nn.Module, make: Callable[[Forward], Forward]) -> None:
        own = module.__dict__.get("forward")
        module.__dict__["forward"] = make(module.forward)
        self._undo.callback(_put_back, module, own)

    def restore(self) -> None:
        """Put everything back, the last first."""
        self._undo.close()


def _put_back(module: nn.Module, own: Forward | None) -> None:
    if own is None:
        del module.__dict__["forward"]
    else:
        module.__dict__["forward"] = own
