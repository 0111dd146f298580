"""Kinds that take whole channels away."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from app.contract.compression.layers import Patterns
from app.contract.spec import Int, Number, Problem, Spec

_BEFORE_PRUNING = ("depthwise_separable", "activation_compression", "low_rank")
"""Kinds that change the network before training starts, so that pruning during training comes after them."""


class ChannelPruning(Spec):
    """Remove whole channels, the least important first, with everything that reads them (DepGraph, arXiv 2301.12900).

    Every prunable layer keeps the same share of its channels; the share is chosen so that the network's MACs or
    parameters fall to 1/`ratio`. The classes' scores are never pruned. Layers that must keep equal channels, as along
    a residual path, are pruned together; what cannot be pruned stays and is named in the plan with its reason.
    """

    kind: Literal["channel_pruning"] = "channel_pruning"
    target: Literal["macs", "parameters"] = Field("macs", description="What `ratio` counts.")
    ratio: Number = Field(
        2.0,
        gt=1,
        le=100,
        description="How many times fewer: 2 halves them. The plan says what is reached; 10 % off is refused.",
    )
    steps: Int = Field(
        1,
        ge=1,
        le=20,
        description="1: at once, before training. More: in so many steps at ends of epochs, each to the same share of "
        "the one before; the method must then be the last that changes the network.",
    )
    until: Number = Field(
        0.5,
        gt=0,
        lt=1,
        description="With several steps: the share of the epochs over which they are spread evenly; the network "
        "trains for the rest with the channels that are left.",
    )
    importance: Literal["magnitude", "bn_scale"] = Field(
        "magnitude",
        description="`magnitude`: the squares of all weights that belong to a channel, in every layer of its group. "
        "`bn_scale`: the sizes of its batch normalisation factors (arXiv 1708.06519), where there are any.",
    )
    round_to: Int = Field(
        8, ge=1, le=256, description="Channels that are left are a multiple of this: processors are fast at 8 and 16."
    )
    exclude: Patterns = Field((), description="Layers that keep all their output channels.")

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "channel_pruning", "ratio": 2.0},
        {"kind": "channel_pruning", "target": "parameters", "ratio": 3.0, "steps": 3, "until": 0.5, "round_to": 4},
    ]

    @property
    def is_gradual(self) -> bool:
        """Whether channels go during training."""
        return self.steps > 1

    def epochs(self, epochs: int) -> tuple[int, ...]:
        """After how many of `epochs` epochs each step is made, if there are enough of them; empty when at once."""
        if not self.is_gradual:
            return ()
        # a thousandth of an epoch: 0.7 of 10 epochs are 7, not 6.999...; and one is left to train after the last step
        ends = (math.floor(step * self.until * epochs / self.steps + 1e-3) for step in range(1, self.steps + 1))
        return tuple(min(end, epochs - 1) for end in ends)


def pruning_problems(methods: Sequence[Spec], epochs: int) -> Iterator[Problem]:
    """What pruning during training needs: epochs to prune after, and nothing that changes the network behind it."""
    for index, method in enumerate(methods):
        if not isinstance(method, ChannelPruning) or not method.is_gradual:
            continue
        ends = method.epochs(epochs)
        if len({0, *ends}) <= method.steps:
            detail = (
                f"{method.steps} steps within the first {method.until:g} of {epochs} epochs need an epoch each: "
                "use fewer steps, more epochs, or a larger until."
            )
            yield Problem(("compression", index, "steps"), "too_few_epochs", detail)
        yield from _later_problems(methods, index)


def _later_problems(methods: Sequence[Spec], index: int) -> Iterator[Problem]:
    for later, other in enumerate(methods[index + 1 :], index + 1):
        kind: str = other.kind  # type: ignore[attr-defined]
        if kind in _BEFORE_PRUNING or isinstance(other, ChannelPruning):
            detail = (
                f"{kind} changes the network before training, and compression {index} prunes it during training: "
                f"put {kind} before it, or use steps 1 there."
            )
            yield Problem(("compression", later), "after_gradual_pruning", detail)
