"""How training images are varied. Geometric kinds compose into one matrix, so each image is resampled once."""

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field

from app.contract.augment.geometric import Border, CenterCrop, RandomAffine, RandomCrop, RandomFlip, RandomRotate
from app.contract.augment.geometric import Resize as Resize
from app.contract.augment.mixing import CutMix, Mixup
from app.contract.augment.normalize import Normalize
from app.contract.augment.photometric import ColorJitter, GaussianBlur, Grayscale, RandomErasing
from app.contract.augment.policies import RandAugment, TrivialAugment

__all__ = [
    "Augment",
    "Border",
    "CenterCrop",
    "ColorJitter",
    "CutMix",
    "Evaluation",
    "GaussianBlur",
    "Grayscale",
    "Mixing",
    "Mixup",
    "Normalize",
    "RandAugment",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomRotate",
    "Resize",
    "Sizing",
    "TrivialAugment",
    "counterpart",
]

Augment = Annotated[
    RandomCrop
    | RandomFlip
    | RandomRotate
    | Resize
    | CenterCrop
    | RandomAffine
    | TrivialAugment
    | RandAugment
    | ColorJitter
    | Grayscale
    | GaussianBlur
    | RandomErasing
    | Mixup
    | CutMix
    | Normalize,
    Field(discriminator="kind"),
]
Evaluation = Annotated[Resize | CenterCrop, Field(discriminator="kind")]
"""What can be done to images in evaluation: nothing is drawn."""

Sizing = RandomCrop | Resize | CenterCrop
"""The kinds that set the size of what comes out."""

Mixing = Mixup | CutMix
"""The kinds that mix an image and its label with another's."""


def counterpart(augment: Iterable[Augment]) -> Iterator[Evaluation]:
    """What evaluation does where training does `augment`: the same sizes, from the middle, with nothing drawn."""
    for each in augment:
        match each:
            case RandomCrop(scale=None):
                yield CenterCrop(size=each.size, border=each.border)
            case RandomCrop():
                yield Resize(size=each.size, fit="cover")
            case Resize() | CenterCrop():
                yield each
