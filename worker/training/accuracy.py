"""How many validation images of each class a network tells right, how sure that is, and how classes fare."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from app.contract.report import MOST_CLASSES, ClassChange

# K = classes

EVALUATION_BATCH = 256
Z_95 = 1.959963984540054
"""Standard deviations within which 95 % of a normal distribution lie."""


@dataclass(frozen=True)
class Score:
    """Of one network, over all validation images."""

    right_K: npt.NDArray[np.int64]
    images_K: npt.NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        return int(self.right_K.sum()) / int(self.images_K.sum())

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(int(self.right_K.sum()), int(self.images_K.sum()))


def wilson(right: int, images: int) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson, JASA 22, 1927): within [0, 1], and no point at its ends."""
    share, squared = right / images, Z_95 * Z_95
    middle = (share + squared / (2 * images)) / (1 + squared / images)
    half = Z_95 / (1 + squared / images) * sqrt(share * (1 - share) / images + squared / (4 * images * images))
    return max(0.0, middle - half), min(1.0, middle + half)


def class_changes(names: Sequence[str], before: Score | None, after: Score) -> list[ClassChange]:
    """Of each class with validation images; of very many, those that lost most."""
    changes = [
        ClassChange(
            name=name,
            images=int(count),
            before=None if before is None else int(before.right_K[index]) / int(count),
            after=int(after.right_K[index]) / int(count),
        )
        for index, (name, count) in enumerate(zip(names, after.images_K, strict=True))
        if count
    ]
    if len(changes) <= MOST_CLASSES:
        return changes
    worst = sorted(range(len(changes)), key=lambda index: changes[index].after - (changes[index].before or 0.0))
    return [changes[index] for index in sorted(worst[:MOST_CLASSES])]


def batches(images: int) -> list[npt.NDArray[np.int64]]:
    """All images, as many at once as are evaluated at once."""
    everything = np.arange(images, dtype=np.int64)
    return [everything[start : start + EVALUATION_BATCH] for start in range(0, images, EVALUATION_BATCH)]
