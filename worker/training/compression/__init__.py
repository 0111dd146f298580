"""Compression: what makes a network smaller, or its training, in the order of the spec, each method reported.

To add a kind: a class in app/contract/compression/, a file of its name here with `build(spec) -> Transformation`, or
`-> LoopMethod` for what acts while the network is trained, and tests/worker/training/compression/test_<kind>.py. What
kinds share lies in `_<name>.py` files; worker/training/compressing.py applies them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from worker.training.architecture import Sizes
from worker.training.attached import Attached, Course
from worker.training.compression._flow import Flow, observe


@dataclass(frozen=True)
class Scene:
    """What a method may know when it chooses."""

    pointer: str
    """JSON Pointer of the method in the spec, for refusals."""
    channels: int
    """Of the images."""
    image_size: Sequence[int]
    """Their height and width."""
    flow: Flow


def scene_of(model: nn.Module, pointer: str, image_size: Sequence[int], channels: int) -> Scene:
    """What a method may know of a network as it is now."""
    return Scene(pointer, channels, image_size, observe(model, image_size, channels))


@dataclass(frozen=True)
class Choice:
    """What a method will do to a network."""

    reasons: Mapping[str, str]
    """For each layer that it looked at, why it stays as it is; empty for those that shall change."""
    sizes: Sizes = field(default_factory=dict)
    """Of layers that shall change, what only the weights could tell; see `Transformation.rebuild`."""
    exact: bool = False
    """The network will compute what it computed before, but for rounding: running statistics still hold."""
    notes: Sequence[str] = ()
    """What a person should know of it beside the layers."""

    @property
    def layers(self) -> list[str]:
        """Those that shall change, in the order of the network."""
        return [name for name, reason in self.reasons.items() if not reason]


@runtime_checkable
class Transformation(Protocol):
    """A method that changes the network itself. What it makes is a function of the weights, the spec and the seed."""

    def choose(self, model: nn.Module, scene: Scene) -> Choice:
        """Look only. On the meta device, where there are no weights, sizes are those of weights that are all alike.

        Raises `bad_spec` for a choice that the spec asks for by name and that is not possible.
        """

    def change(self, model: nn.Module, choice: Choice) -> None:
        """Do it, in place, from the weights that are there: same outputs' shape, same device, precision and mode."""

    def rebuild(self, model: nn.Module, layers: Sequence[str], sizes: Sizes) -> None:
        """Give a fresh network the form that `change` gave, whatever its weights: they are loaded afterwards."""


Cut = Mapping[str, Callable[[Tensor], Tensor]]
"""For each tensor in the state of a network that gets smaller: from it, or its moments, to what stays."""


@dataclass(frozen=True)
class StepChoice:
    """What a gradual method will take away in one of its steps. Plain values: one rank chooses for all."""

    kept: Mapping[str, tuple[Sequence[int] | None, Sequence[int] | None]]
    """By layer: the output and input channels that stay; null: all."""
    sizes: Sizes
    before: int
    """What the method counts, such as MACs."""
    after: int
    wanted: float


class Gradual(Protocol):
    """A transformation that acts in steps during training."""

    def choose_step(self, model: nn.Module, whole: nn.Module, scene: Scene, number: int) -> StepChoice:
        """Look only. `whole`: the network before the first step, with any weights; `number` counts from 1."""

    def cut_of(self, model: nn.Module, choice: StepChoice) -> Cut:
        """What a choice leaves of each tensor of `model`."""


@runtime_checkable
class LoopMethod(Protocol):
    """A method that acts while the network is trained. What is exported is the network without it."""

    def choose(self, model: nn.Module, scene: Scene) -> Choice | None:
        """Look only, at the network as all transformations left it. Null: it has nothing to do with single layers.

        Raises `bad_spec` for a choice that the spec asks for by name and that is not possible.
        """

    def attach(self, model: nn.Module, layers: Sequence[str], course: Course) -> Attached:
        """Take part in the training of `model` from now on, at the layers chosen: until `detach`.

        Neither parameters nor buffers of the network change, nor their names. Called when the network is on its device,
        in its precision, and wrapped by the ranks. Raises `bad_spec`.
        """
