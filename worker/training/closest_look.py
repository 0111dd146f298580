"""How closely a spec may look at an image: what its lists do to sizes, in plain numbers (see stored_size)."""

from collections.abc import Iterator, Sequence

import numpy as np

from app.contract.augment import (
    Augment,
    CenterCrop,
    RandAugment,
    RandomAffine,
    RandomCrop,
    Resize,
    TrivialAugment,
)
from app.contract.job import JobSpec
from worker.training.stored_size import Reduction, Sizing

_RATIO = (3 / 4, 4 / 3)
_TRIVIAL_SHEAR, _RAND_SHEAR = 0.99, 0.3  # the largest of the two policies, as tangents


def reduction_of(spec: JobSpec) -> Reduction:
    """By how much the images of a job may be reduced."""
    resolved = spec.resolved()
    lists: tuple[Sequence[Augment], ...] = (resolved.augment, resolved.evaluation)
    return Reduction([list(_sizing(steps)) for steps in lists] if all(map(_is_relative, lists)) else [])


def _is_relative(steps: Sequence[Augment]) -> bool:
    """Whether nothing counts in pixels of the file before the size is set."""
    for each in steps:
        if isinstance(each, Resize) or (isinstance(each, RandomCrop) and each.scale):
            return True
        if isinstance(each, RandomCrop | CenterCrop | TrivialAugment):
            return False
    return False


def _sizing(steps: Sequence[Augment]) -> Iterator[Sizing]:
    for each in steps:
        match each:
            case Resize():
                yield Sizing("scales", each.size)
            case RandomCrop(scale=scale) if scale:
                yield Sizing("windows", (*each.size, scale[0], *(each.ratio or _RATIO)))
            case RandomCrop() | CenterCrop():
                yield Sizing("cuts", each.size)
            case _ if (share := _magnified(each)) != 1:
                yield Sizing("magnifies", (share,))


def _magnified(step: Augment) -> float:
    """By how much a step that keeps the size may bring pixels closer together, at most 1."""
    match step:
        case RandomAffine():
            largest = max((step.scale or (1.0, 1.0))[1], 1.0)
            return _squeeze(float(np.tan(np.deg2rad(step.shear or 0.0)))) ** 2 / largest
        case TrivialAugment():
            return _squeeze(_TRIVIAL_SHEAR)
        case RandAugment():
            return _squeeze(_RAND_SHEAR) ** step.operations
        case _:
            return 1.0


def _squeeze(tangent: float) -> float:
    """The smaller singular value of a shear."""
    return float((np.sqrt(tangent**2 + 4) - tangent) / 2)
