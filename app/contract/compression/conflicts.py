"""Which methods cannot stand in one list, and which need weights that are not there.

A row for each kind that restricts others; a kind without a row composes with all, any number of times: two passes with
different `exclude` are a way to treat layers differently.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.contract.compression import Compression, DepthwiseSeparable, LowRank
from app.contract.spec import Problem, Spec


@dataclass(frozen=True)
class Rule:
    """What a kind asks of the rest of the list. Each text says why, and the way out."""

    once: str = ""
    """Not empty: a second one means nothing."""
    last: str = ""
    """Not empty: nothing may come behind it."""
    apart_from: Mapping[str, str] = field(default_factory=dict)
    """Other kinds that cannot be in the same list, wherever they stand."""


RULES: Mapping[str, Rule] = {
    "saved_activations": Rule(
        once="what is kept for the backward pass is stored in one precision: remove one of them.",
        apart_from={"checkpointing": "it keeps nothing for saved_activations to store smaller: remove one of them."},
    ),
    "checkpointing": Rule(once="a layer is computed again once: remove one of them."),
    "distillation": Rule(once="a network learns from one teacher: remove one of them."),
    "quantization": Rule(
        once="weights are rounded once: remove one of them.",
        last="the file is quantized after everything else was done to the network: move quantization to the end.",
    ),
}


def conflict_problems(methods: Sequence[Spec]) -> Iterator[Problem]:
    """Every pair that cannot stand so, at the later of the two."""
    names = [str(each.kind) for each in methods]  # type: ignore[attr-defined]
    for index, name in enumerate(names):
        for earlier in dict.fromkeys(names[:index]):
            yield from _pair(index, name, earlier)


def _pair(index: int, name: str, earlier: str) -> Iterator[Problem]:
    rule, before = RULES.get(name, Rule()), RULES.get(earlier, Rule())
    if name == earlier:
        if rule.once:
            yield Problem(("compression", index), "twice", f"{name} stands in the list twice: {rule.once}")
        return
    if before.last:
        yield Problem(("compression", index), f"after_{earlier}", f"{name} comes behind {earlier}: {before.last}")
    why = before.apart_from.get(name) or rule.apart_from.get(earlier)
    if why:
        yield Problem(("compression", index), f"excludes_{earlier}", f"{name} and {earlier} exclude each other: {why}")


def weights_problems(methods: Sequence[Compression], trained: bool) -> Iterator[Problem]:
    """Methods that read what training left in the weights, where they are random. `trained`: the model's are not."""
    for index, method in enumerate(methods):
        asks = _reads_weights(method)
        if not asks:
            continue
        said = f"{asks} of {method.kind}"
        if not trained:
            detail = (
                f"{said} reads trained weights, and this model starts from random ones: {_FROM_TRAINED[method.kind]}"
            )
            yield Problem(("compression", index, asks), "needs_trained_weights", detail)
        elif any(isinstance(each, DepthwiseSeparable) and each.init == "random" for each in methods[:index]):
            detail = f"{said} reads trained weights, and depthwise_separable leaves random ones: move this before it."
            yield Problem(("compression", index, asks), "after_random_weights", detail)


_FROM_TRAINED = {
    "depthwise_separable": 'use {"kind": "checkpoint"} or pretrained, or init random.',
    "low_rank": 'use {"kind": "checkpoint"} or pretrained, or give rank.',
}


def _reads_weights(method: Compression) -> str:
    """The field by which a method asks for trained weights; empty when it does not."""
    match method:
        case DepthwiseSeparable(init="svd"):
            return "init"
        case LowRank(energy=float()):
            return "energy"
        case _:
            return ""
