"""Which augmentations may come before which others."""

from collections.abc import Iterator, Sequence

from app.contract.augment import (
    Augment,
    CenterCrop,
    GaussianBlur,
    Mixing,
    Normalize,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomRotate,
    Resize,
    TrivialAugment,
)
from app.contract.spec import Problem

_SIZING = (RandomCrop, Resize, CenterCrop)
_MOVING = (*_SIZING, RandomFlip, RandomRotate, RandomAffine, TrivialAugment, RandAugment)


def order_problems(augment: Sequence[Augment]) -> Iterator[Problem]:
    """What stands where it cannot mean what its place says, with where to move it.

    Colours may change anywhere in the list: the result is the same. A rectangle that is then turned, or a blur that is
    then shrunk, would be another one than the spec says, since both are done on the final image. What mixes two
    final images comes behind everything that makes them.
    """
    for index, each in enumerate(augment):
        before = augment[:index]
        if any(isinstance(other, Normalize) for other in before):
            yield Problem(("augment", index), "after_normalize", "normalize is always last: move it behind this one.")
        if isinstance(each, _MOVING) and any(isinstance(other, RandomErasing) for other in before):
            detail = f"random_erasing covers a part of the final image: move it behind {each.kind}."
            yield Problem(("augment", index), "after_random_erasing", detail)
        if isinstance(each, _SIZING) and any(isinstance(other, GaussianBlur) for other in before):
            detail = f"gaussian_blur works on the final image, in its pixels: move it behind {each.kind}."
            yield Problem(("augment", index), "after_gaussian_blur", detail)
        mixing = next((other for other in before if isinstance(other, Mixing)), None)
        if mixing and not isinstance(each, Mixing | Normalize):
            detail = f"{mixing.kind} mixes two final images: move it behind {each.kind}, just before normalize."
            yield Problem(("augment", index), f"after_{mixing.kind}", detail)
