"""What is known of training in numbers: of a step, and of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

NON_FINITE_LIMIT = 3
"""Steps in a row without a finite loss, after which training has diverged."""


class Diverging(Exception):
    """The loss of several steps in a row was no finite number. Raised on every rank after the same step."""


@dataclass(frozen=True)
class Row:
    """One optimizer step, summed over all ranks."""

    step: int
    loss: float  # mean over the global batch
    accuracy: float
    sums: tuple[float, float, float]
    published: tuple[float, ...] = ()  # by methods of the loop; means over the global batch


@dataclass(frozen=True)
class Score:
    """Of one network on all validation images."""

    loss: float
    accuracy: float


def row_of(step: int, sums: Sequence[float]) -> Row:
    """From the sums of a step over its samples: losses, right answers, samples, and what methods publish."""
    loss_sum, right, samples, *published = sums
    means = tuple(each / samples for each in published)
    return Row(step, loss_sum / samples, right / samples, (loss_sum, right, samples), means)
