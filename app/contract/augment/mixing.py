"""Kinds that mix each image with one other, and their labels with them. They work on final images, on the device."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from app.contract.spec import Number, Probability, Spec

Alpha = Annotated[Number, Field(ge=0.01, le=100)]
ALPHA = (
    "The share that an image keeps is drawn from Beta(alpha, alpha): below 1 mostly nearly all or nothing, at 1 any."
)


class Mixup(Spec):
    """Blend each image with one other, and their labels in the same proportion.

    Zhang et al., arXiv 1710.09412, with a share drawn for each image. The other image is any of the epoch, each equally
    likely, augmented as in its own place. Behind all kinds but `normalize`; not used in evaluation. With `cutmix` in
    the same list each image is given to one of the two, with equal chance. `train/accuracy` counts the label of the
    larger share as the right one.
    """

    kind: Literal["mixup"] = "mixup"
    alpha: Alpha = Field(0.2, description=ALPHA)
    probability: Probability = Field(1.0, description="Share of the images that are blended at all.")

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "mixup", "alpha": 0.2},
        {"kind": "mixup", "alpha": 0.4, "probability": 0.5},
    ]


class CutMix(Spec):
    """Put a rectangle of one other image into each, and mix their labels by area.

    Yun et al., arXiv 1905.04899, with a rectangle drawn for each image: of its shape, about any of its pixels, cut off
    at its edges; the labels' weights are those of the pixels that are left. The other image is any of the epoch, each
    equally likely, augmented as in its own place. Behind all kinds but `normalize`; not used in evaluation. With
    `mixup` in the same list each image is given to one of the two, with equal chance. `train/accuracy` counts the
    label of the larger share as the right one.
    """

    kind: Literal["cutmix"] = "cutmix"
    alpha: Alpha = Field(1.0, description=ALPHA)
    probability: Probability = Field(1.0, description="Share of the images that get a rectangle at all.")

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "cutmix", "alpha": 1.0},
        {"kind": "cutmix", "probability": 0.5},
    ]
