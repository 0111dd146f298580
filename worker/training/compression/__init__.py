"""Compression: transformations of a network that make it smaller, applied in the order of the spec, each reported.

To add a kind: a class in app/contract/compression/, a file of its name here with `build(spec) -> Transformation`, or
`-> LoopMethod` for what acts while the network is trained, and tests/worker/training/compression/test_<kind>.py. What
kinds share lies in `_<name>.py` files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from torch import nn

from app.contract.compression import Compression
from app.contract.plan import LayerChange, MethodEffect
from worker.training import cost, plugins
from worker.training.architecture import Applied, Sizes, note, seeded
from worker.training.attached import Attached, Course, Methods
from worker.training.compression._flow import Flow, observe
from worker.training.cost import Macs
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
    exact: bool = False
    """The network will compute what it computed before, but for rounding: running statistics still hold."""

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


@dataclass(frozen=True)
class Outcome:
    """What became of a network by one method."""

    effect: MethodEffect
    layers: list[LayerChange]
    exact: bool
    """See `Choice`."""


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


def compress(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int, seed: int = 0
) -> list[LayerChange]:
    """Apply the methods to `model`, as `outcomes` does, and say what became of each layer that they looked at."""
    applied = outcomes(model, methods, image_size, channels, seed)
    return [change for outcome in applied for change in outcome.layers]


def outcomes(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int, seed: int = 0
) -> list[Outcome]:
    """Apply the methods to `model`, in place and in order, and say what each did.

    New random weights are a function of `seed` (the job's): the same in every rank. Raises `bad_spec` at
    `/compression/<i>` when a method fits no layer of this network, or the network does not run any more.
    """
    applied: list[Outcome | None] = []
    for index, method in enumerate(methods):
        with seeded(seed, f"compression/{index}"):
            applied.append(_apply(model, method, f"/compression/{index}", image_size, channels))
    in_loop = {
        scene.pointer: _looked(model, method.kind, built.choose(model, scene), scene, image_size)
        for method, built, scene in _in_loop(model, methods, image_size, channels)
    }
    return [each or in_loop[f"/compression/{index}"] for index, each in enumerate(applied)]


def _looked(model: nn.Module, kind: str, choice: Choice | None, scene: Scene, image_size: Sequence[int]) -> Outcome:
    """What a method of the loop will do; no layer gets other parameters."""
    if choice and not choice.layers:
        raise bad_spec(scene.pointer, _nothing_to_do(kind, choice.reasons), "no_layer_fits")
    chosen = choice or Choice({})
    costs = _Costs.of(model, chosen.reasons, cost.count_macs_of(model, chosen.reasons, scene.channels, image_size))
    return _outcome(kind, replace(chosen, exact=True), costs, costs)


def _apply(
    model: nn.Module, method: Compression, pointer: str, image_size: Sequence[int], channels: int
) -> Outcome | None:
    """Null for a method of the loop, which looks at the network that all others leave."""
    transformation: Transformation | LoopMethod = plugins.build("compression", method)
    if isinstance(transformation, LoopMethod):
        return None
    choice = transformation.choose(model, Scene(pointer, channels, observe(model, image_size, channels)))
    if not choice.layers:
        raise bad_spec(pointer, _nothing_to_do(method.kind, choice.reasons), "no_layer_fits")
    before = _Costs.of(model, choice.reasons, cost.count_macs_of(model, choice.reasons, channels, image_size))
    transformation.change(model, choice)
    note(model, Applied(method=method, layers=tuple(choice.layers), sizes=dict(choice.sizes)))
    macs = _macs_unless_broken(model, choice.reasons, method.kind, pointer, image_size, channels)
    return _outcome(method.kind, choice, before, _Costs.of(model, choice.reasons, macs))


def _nothing_to_do(kind: str, reasons: Mapping[str, str]) -> str:
    kept: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        kept.setdefault(reason, []).append(name)
    most_first = sorted(kept.items(), key=lambda item: -len(item[1]))
    found = "; ".join(f"{_some(names)} kept: {reason}" for reason, names in most_first)
    found = found[:800] or "it has no layer to look at"
    return f"{kind} fits no layer of this network ({found}): remove it, or change the model."


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _macs_unless_broken(
    model: nn.Module, layers: Iterable[str], kind: str, pointer: str, image_size: Sequence[int], channels: int
) -> Macs:
    """Some networks read their layers' weights instead of calling them."""
    try:
        return cost.count_macs_of(model, layers, channels, image_size)
    except Exception as error:
        detail = (
            f"The network does not run after {kind} ({type(error).__name__}: {error}): remove it, or exclude layers."
        )
        raise bad_spec(pointer, detail[:1000], "breaks_network") from error


@dataclass(frozen=True)
class _Costs:
    """Of a network, and of the layers that a method looked at."""

    parameters: int
    macs: Macs
    parameters_of: Mapping[str, int]

    @classmethod
    def of(cls, model: nn.Module, layers: Iterable[str], macs: Macs) -> "_Costs":
        return cls(_parameters(model), macs, {name: _parameters(model.get_submodule(name)) for name in layers})


def _outcome(kind: str, choice: Choice, before: _Costs, after: _Costs) -> Outcome:
    effect = MethodEffect(
        method=kind,
        layers_changed=len(choice.layers),
        layers_kept=len(choice.reasons) - len(choice.layers),
        parameters_before=before.parameters,
        parameters_after=after.parameters,
        macs_before=before.macs.whole,
        macs_after=after.macs.whole,
    )
    changes = [_change(kind, name, reason, before, after) for name, reason in choice.reasons.items()]
    return Outcome(effect, changes, choice.exact)


def _change(kind: str, name: str, reason: str, before: _Costs, after: _Costs) -> LayerChange:
    return LayerChange(
        name=name,
        method=kind,
        status="kept" if reason else "changed",
        reason=reason,
        parameters_before=before.parameters_of[name],
        parameters_after=after.parameters_of[name],
        macs_before=before.macs.by_layer[name],
        macs_after=after.macs.by_layer[name],
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
