"""Compression: transformations of a network that make it smaller, applied in the order of the spec, each reported.

To add a kind: a class in app/contract/compression/, a file of its name here with `build(spec) -> Transformation`, and
tests/worker/training/compression/test_<kind>.py. What kinds share lies in `_<name>.py` files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor, nn

from app.contract.compression import ChannelPruning, Compression
from app.contract.plan import LayerChange
from worker.training import plugins, shapes
from worker.training.architecture import Applied, Sizes, note, seeded
from worker.training.compression._flow import Flow, observe
from worker.training.errors import bad_spec


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


@dataclass(frozen=True)
class Choice:
    """What a transformation will do to a network."""

    reasons: Mapping[str, str]
    """For each layer that it looked at, why it stays as it is; empty for those that shall change."""
    sizes: Sizes = field(default_factory=dict)
    """Of layers that shall change, what only the weights could tell; see `Transformation.rebuild`."""
    notes: Sequence[str] = ()
    """What a person should know of it beside the layers."""

    @property
    def layers(self) -> list[str]:
        """Those that shall change, in the order of the network."""
        return [name for name, reason in self.reasons.items() if not reason]


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


def compress(
    model: nn.Module,
    methods: Sequence[Compression],
    image_size: Sequence[int],
    channels: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _note: None,
    when: Literal["always", "before training", "during training"] = "always",
) -> list[LayerChange]:
    """Apply the methods to `model`, in place and in order, and say what became of each layer that they look at.

    New random weights are a function of `seed` (the job's): the same in every rank. `tell` hears what a person should
    know beside that. `when`: only the methods that act then; those that do so during training are done to their end.
    Raises `bad_spec` at `/compression/<i>` when a method fits no layer of this network, or the network does not run any
    more.
    """
    changes: list[LayerChange] = []
    for index, method in enumerate(methods):
        if when != "always" and is_gradual(method) != (when == "during training"):
            continue
        with seeded(seed, f"compression/{index}"):
            changes += _apply(model, method, f"/compression/{index}", image_size, channels, tell)
    return changes


def is_gradual(method: Compression) -> bool:
    """Whether a method changes the network while it is trained."""
    return isinstance(method, ChannelPruning) and method.is_gradual


def scene_of(model: nn.Module, pointer: str, image_size: Sequence[int], channels: int) -> Scene:
    """What a method may know of a network as it is now."""
    return Scene(pointer, channels, image_size, observe(model, image_size, channels))


def _apply(
    model: nn.Module,
    method: Compression,
    pointer: str,
    image_size: Sequence[int],
    channels: int,
    tell: Callable[[str], None],
) -> list[LayerChange]:
    transformation: Transformation = plugins.build("compression", method)
    choice = transformation.choose(model, scene_of(model, pointer, image_size, channels))
    for each in choice.notes:
        tell(each)
    if not choice.layers:
        raise bad_spec(pointer, _nothing_to_do(method.kind, choice.reasons), "no_layer_fits")
    before = {name: _parameters(model.get_submodule(name)) for name in choice.reasons}
    transformation.change(model, choice)
    note(model, Applied(method=method, layers=tuple(choice.layers), sizes=dict(choice.sizes)))
    _refuse_if_broken(model, method.kind, pointer, image_size, channels)
    return [_change(model, method.kind, name, before[name], reason) for name, reason in choice.reasons.items()]


def _nothing_to_do(kind: str, reasons: Mapping[str, str]) -> str:
    counts: dict[str, int] = {}
    for reason in reasons.values():
        counts[reason] = counts.get(reason, 0) + 1
    found = "; ".join(f"{count} kept: {reason}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
    found = found[:800] or "it has no convolutions"
    return f"{kind} fits no layer of this network ({found}): remove it, or change the model."


def _refuse_if_broken(model: nn.Module, kind: str, pointer: str, image_size: Sequence[int], channels: int) -> None:
    """Some networks read their convolutions' weights instead of calling them."""
    training = model.training
    try:
        shapes.forward(model.eval(), channels, image_size)
    except Exception as error:
        detail = (
            f"The network does not run after {kind} ({type(error).__name__}: {error}): remove it, or exclude layers."
        )
        raise bad_spec(pointer, detail[:1000], "breaks_network") from error
    finally:
        model.train(training)


def _change(model: nn.Module, kind: str, name: str, before: int, reason: str) -> LayerChange:
    return LayerChange(
        name=name,
        method=kind,
        status="kept" if reason else "changed",
        reason=reason,
        parameters_before=before,
        parameters_after=_parameters(model.get_submodule(name)),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
