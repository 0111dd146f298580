"""Compression: transformations of a network that make it smaller, applied in the order of the spec, each reported.

To add a kind: a class in app/contract/compression/, a file of its name here with `build(spec) -> Transformation`, or
`-> LoopMethod` for what acts while the network is trained, and tests/worker/training/compression/test_<kind>.py. What
kinds share lies in `_<name>.py` files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from torch import nn

from app.contract.compression import Compression
from app.contract.plan import LayerChange
from worker.training import plugins, shapes
from worker.training.architecture import Applied, Sizes, note, seeded
from worker.training.attached import Attached, Course, Methods
from worker.training.compression._flow import Flow, observe
from worker.training.errors import bad_spec


@dataclass(frozen=True)
class Scene:
    """What a method may know when it chooses."""

    pointer: str
    """JSON Pointer of the method in the spec, for refusals."""
    channels: int
    """Of the images."""
    flow: Flow


@dataclass(frozen=True)
class Choice:
    """What a transformation will do to a network."""

    reasons: Mapping[str, str]
    """For each layer that it looked at, why it stays as it is; empty for those that shall change."""
    sizes: Sizes = field(default_factory=dict)
    """Of layers that shall change, what only the weights could tell; see `Transformation.rebuild`."""

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


def attach(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int, course: Course
) -> Methods:
    """Hang the methods of the loop on a network that `compress` has changed. On the meta device too, for its memory."""
    attached = Methods()
    for method, built, scene in _in_loop(model, methods, image_size, channels):
        choice = built.choose(model, scene)
        layers = choice.layers if choice else []
        attached.attached[method.kind] = built.attach(model, layers, replace(course, pointer=scene.pointer))
    return attached


def _in_loop(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int
) -> list[tuple[Compression, LoopMethod, Scene]]:
    every = [(index, method, plugins.build("compression", method)) for index, method in enumerate(methods)]
    found = [(index, method, built) for index, method, built in every if isinstance(built, LoopMethod)]
    if not found:
        return []
    flow = observe(model, image_size, channels)
    return [(method, built, Scene(f"/compression/{index}", channels, flow)) for index, method, built in found]


def _said(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int
) -> Iterator[LayerChange]:
    """What the methods of the loop will do, layer by layer; no layer gets other parameters."""
    for method, built, scene in _in_loop(model, methods, image_size, channels):
        choice = built.choose(model, scene)
        if choice and not choice.layers:
            raise bad_spec(scene.pointer, _nothing_to_do(method.kind, choice.reasons), "no_layer_fits")
        for name, reason in choice.reasons.items() if choice else ():
            yield _change(model, method.kind, name, _parameters(model.get_submodule(name)), reason)


def compress(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int, seed: int = 0
) -> list[LayerChange]:
    """Apply the methods to `model`, in place and in order, and say what became of each convolution.

    New random weights are a function of `seed` (the job's): the same in every rank. Raises `bad_spec` at
    `/compression/<i>` when a method fits no layer of this network, or the network does not run any more.
    """
    changes: list[LayerChange] = []
    for index, method in enumerate(methods):
        with seeded(seed, f"compression/{index}"):
            changes += _apply(model, method, f"/compression/{index}", image_size, channels)
    return [*changes, *_said(model, methods, image_size, channels)]


def _apply(
    model: nn.Module, method: Compression, pointer: str, image_size: Sequence[int], channels: int
) -> list[LayerChange]:
    transformation: Transformation | LoopMethod = plugins.build("compression", method)
    if isinstance(transformation, LoopMethod):
        return []
    choice = transformation.choose(model, Scene(pointer, channels, observe(model, image_size, channels)))
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
    found = found[:800] or "it has none of the kind that it could fit"
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
