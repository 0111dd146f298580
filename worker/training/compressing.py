"""A spec's methods of compression, applied to a network: done to it, or hung on it, and told layer by layer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from app.contract.compression import IN_LOOP, ChannelPruning, Compression
from app.contract.plan import LayerChange, MethodEffect
from worker.training import cost, plugins
from worker.training.architecture import Applied, note, seeded
from worker.training.attached import Course, Methods
from worker.training.compression import Choice, LoopMethod, Scene, Transformation, scene_of
from worker.training.cost import Macs
from worker.training.errors import bad_spec

When = Literal["always", "before training", "during training"]


@dataclass(frozen=True)
class Outcome:
    """What became of a network by one method."""

    index: int
    """Of the method in the spec."""
    effect: MethodEffect
    layers: list[LayerChange]
    exact: bool
    """See `Choice`."""


def compress(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int, seed: int = 0
) -> list[LayerChange]:
    """Apply the methods to `model`, as `outcomes` does, and say what became of each layer that they looked at."""
    applied = outcomes(model, methods, image_size, channels, seed)
    return [change for outcome in applied for change in outcome.layers]


def outcomes(
    model: nn.Module,
    methods: Sequence[Compression],
    image_size: Sequence[int],
    channels: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _note: None,
    when: When = "always",
) -> list[Outcome]:
    """Apply the methods to `model`, in place and in order, and say what each did; those of the loop only look at it.

    New random weights are a function of `seed` (the job's): the same in every rank. `tell` hears what a person should
    know beside that. `when`: only the methods that act then; those that do so during training are done to their end,
    and those of the loop behind them in the list look at the network once more, as it is then.
    Raises `bad_spec` at `/compression/<i>` when a method fits no layer of this network, or the network does not run any
    more.
    """
    applied: list[Outcome] = []
    for index, method in enumerate(methods):
        if isinstance(method, IN_LOOP) or not _acts(method, when):
            continue
        with seeded(seed, f"compression/{index}"):
            applied.append(_apply(model, index, method, scene_of(model, _pointer(index), image_size, channels), tell))
    looked = _looked(model, methods, image_size, channels)
    if when == "during training":
        first = min((each.index for each in applied), default=len(methods))
        looked = [each for each in looked if each.index > first]
    return sorted([*applied, *looked], key=lambda outcome: outcome.index)


def attach(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int, course: Course
) -> Methods:
    """Hang the methods of the loop on a network that `compress` has changed. On the meta device too, for its memory."""
    attached = Methods()
    for _, method, built, scene in _in_loop(model, methods, image_size, channels):
        choice = built.choose(model, scene)
        layers = choice.layers if choice else []
        attached.attached[method.kind] = built.attach(model, layers, replace(course, pointer=scene.pointer))
    return attached


def _acts(method: Compression, when: When) -> bool:
    """Whether a method changes the network then: most do before it is trained, gradual pruning while it is."""
    gradual = isinstance(method, ChannelPruning) and method.is_gradual
    return when == "always" or gradual == (when == "during training")


def _pointer(index: int) -> str:
    return f"/compression/{index}"


def _in_loop(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int
) -> list[tuple[int, Compression, LoopMethod, Scene]]:
    """Those that act while the network is trained; they see it as all others left it."""
    found = [(index, method) for index, method in enumerate(methods) if isinstance(method, IN_LOOP)]
    if not found:
        return []
    seen = scene_of(model, "", image_size, channels)
    return [
        (index, method, plugins.build("compression", method), replace(seen, pointer=_pointer(index)))
        for index, method in found
    ]


def _looked(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int
) -> list[Outcome]:
    """What the methods of the loop will do, layer by layer; no layer gets other parameters."""
    found = []
    for index, method, built, scene in _in_loop(model, methods, image_size, channels):
        choice = built.choose(model, scene)
        if choice and not choice.layers:
            raise bad_spec(scene.pointer, _nothing_to_do(method.kind, choice.reasons), "no_layer_fits")
        chosen = replace(choice or Choice({}), exact=True)
        costs = _Costs.of(model, chosen.reasons, cost.count_macs_of(model, chosen.reasons, channels, image_size))
        found.append(_outcome(index, method.kind, chosen, costs, costs))
    return found


def _apply(model: nn.Module, index: int, method: Compression, scene: Scene, tell: Callable[[str], None]) -> Outcome:
    transformation: Transformation = plugins.build("compression", method)
    choice = transformation.choose(model, scene)
    for each in choice.notes:
        tell(each)
    if not choice.layers:
        raise bad_spec(scene.pointer, _nothing_to_do(method.kind, choice.reasons), "no_layer_fits")
    counted = cost.count_macs_of(model, choice.reasons, scene.channels, scene.image_size)
    before = _Costs.of(model, choice.reasons, counted)
    transformation.change(model, choice)
    note(model, Applied(method=method, layers=tuple(choice.layers), sizes=dict(choice.sizes)))
    macs = _macs_unless_broken(model, choice.reasons, method.kind, scene)
    return _outcome(index, method.kind, choice, before, _Costs.of(model, choice.reasons, macs))


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


def _macs_unless_broken(model: nn.Module, layers: Iterable[str], kind: str, scene: Scene) -> Macs:
    """Some networks read their layers' weights instead of calling them."""
    try:
        return cost.count_macs_of(model, layers, scene.channels, scene.image_size)
    except Exception as error:
        detail = (
            f"The network does not run after {kind} ({type(error).__name__}: {error}): remove it, or exclude layers."
        )
        raise bad_spec(scene.pointer, detail[:1000], "breaks_network") from error


@dataclass(frozen=True)
class _Costs:
    """Of a network, and of the layers that a method looked at."""

    parameters: int
    macs: Macs
    parameters_of: Mapping[str, int]

    @classmethod
    def of(cls, model: nn.Module, layers: Iterable[str], macs: Macs) -> "_Costs":
        return cls(_parameters(model), macs, {name: _parameters(model.get_submodule(name)) for name in layers})


def _outcome(index: int, kind: str, choice: Choice, before: _Costs, after: _Costs) -> Outcome:
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
    return Outcome(index, effect, changes, choice.exact)


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
