"""A spec's methods of compression, applied to a network of Keras and told layer by layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import keras

from app.contract.compression import Compression
from app.contract.plan import LayerChange, MethodEffect
from worker.tensorflow import architecture, cost
from worker.tensorflow.architecture import Applied, Architecture
from worker.tensorflow.compression import Scene
from worker.training.errors import bad_spec


@dataclass(frozen=True)
class Outcome:
    """What became of a network by one method."""

    effect: MethodEffect
    layers: list[LayerChange]


@dataclass(frozen=True)
class Compressed:
    """A network behind all methods of a spec, with the weights that training begins with."""

    before: Any
    """The network that no method has changed."""
    model: Any
    architecture: Architecture
    outcomes: list[Outcome]


def compress(model: Any, described: Architecture, methods: Sequence[Compression], seed: int) -> Compressed:
    """Apply the methods in order. New random weights are a function of `seed`. Raises `bad_spec`."""
    before, outcomes = model, []
    for index, method in enumerate(methods):
        keras.utils.set_random_seed(_seed(seed, index))
        pointer = f"/compression/{index}"
        module = import_module(f"{__package__}.compression.{method.kind}")
        reasons = module.choose(method, Scene(model, pointer))
        layers = tuple(name for name, reason in reasons.items() if not reason)
        if not layers:
            raise bad_spec(pointer, _nothing_to_do(method.kind, reasons), "no_layer_fits")
        applied = Applied(method=method, layers=layers)
        changed = architecture.apply(model, applied)
        architecture.set_weights(changed, _carried(model, changed, applied, module.start))
        outcomes.append(_outcome(applied, reasons, model, changed))
        described = described.model_copy(update={"compression": (*described.compression, applied)})
        model = changed
    return Compressed(before, model, described, outcomes)


def _carried(before: Any, after: Any, applied: Applied, start: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The weights of the changed network: of layers that stayed as they were, of the others as the method starts."""
    known, weights = architecture.weights_of(before), architecture.weights_of(after)
    for layer in applied.layers:
        dense = {path.removeprefix(f"{layer}/"): value for path, value in known.items() if path.startswith(f"{layer}/")}
        made = {path.removeprefix(layer): value for path, value in weights.items() if path.startswith(f"{layer}_")}
        weights |= {f"{layer}{end}": value for end, value in start(applied.method, dense, made).items()}
    return weights | {path: value for path, value in known.items() if path in weights}


def _outcome(applied: Applied, reasons: Mapping[str, str], before: Any, after: Any) -> Outcome:
    costs = cost.network_cost(before), cost.network_cost(after)
    effect = MethodEffect(
        method=applied.method.kind,
        layers_changed=len(applied.layers),
        layers_kept=len(reasons) - len(applied.layers),
        parameters_before=costs[0].parameters,
        parameters_after=costs[1].parameters,
        macs_before=costs[0].macs,
        macs_after=costs[1].macs,
    )
    return Outcome(effect, [_change(applied, name, reason, before, after) for name, reason in reasons.items()])


def _change(applied: Applied, name: str, reason: str, before: Any, after: Any) -> LayerChange:
    old = before.get_layer(name)
    made = [] if reason else architecture.in_the_place_of(old, applied)  # again: for their names
    new = [after.get_layer(each.name) for each in made] or [old]
    return LayerChange(
        name=name,
        method=applied.method.kind,
        status="kept" if reason else "changed",
        reason=reason,
        parameters_before=cost.parameters(old),
        parameters_after=sum(map(cost.parameters, new)),
        macs_before=cost.layer_macs(old),
        macs_after=sum(map(cost.layer_macs, new)),
    )


def _nothing_to_do(kind: str, reasons: Mapping[str, str]) -> str:
    kept: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        kept.setdefault(reason, []).append(name)
    found = "; ".join(
        f"{names[0] if len(names) == 1 else f'{names[0]} and {len(names) - 1} more'} kept: {reason}"
        for reason, names in sorted(kept.items(), key=lambda item: -len(item[1]))
    )
    return f"{kind} fits no layer of this network ({found[:800] or 'it has none to look at'}): remove it, or change it."


def _seed(seed: int, index: int) -> int:
    return (seed * 1_000_003 + index + 1) % 2**32
