"""Kinds that move pixels: each is a matrix for an image, and a list of them is one matrix and one resample."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.contract.spec import Int, Number, Probability, Problem, Spec, refuse

Pixels = Annotated[Int, Field(ge=1, le=4096)]
Size = Annotated[tuple[Pixels, Pixels], Field(description="[height, width], in pixels.")]
Border = Literal["reflect", "replicate", "constant"]
BorderField = Annotated[
    Border,
    Field(description="What is shown where the source image ends: mirrored, its edge repeated, or black."),
]
PositivePair = Annotated[tuple[Number, Number], Field()]


class RandomCrop(Spec):
    """Show a random window of each image.

    Without `scale`: pad by `padding` on every side, then cut `size` at a uniformly drawn place, all places included
    (AlexNet-style; arXiv 1409.5185 for the padded form). With `scale`: draw a share of the image's area and an aspect
    ratio, cut that window and resize it to `size` (Inception-style, arXiv 1409.4842).
    """

    kind: Literal["random_crop"] = "random_crop"
    size: Size
    scale: PositivePair | None = Field(
        None,
        description="[smallest, largest] share of the area, in (0, 1]. Makes `size` the output size, any.",
    )
    ratio: PositivePair | None = Field(
        None,
        description="[smallest, largest] width / height of the window; only with `scale`. Default 3/4 to 4/3.",
    )
    padding: Annotated[Int, Field(ge=0, le=1024)] = Field(0, description="Pixels on every side; only without `scale`.")
    border: BorderField = "reflect"

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "random_crop", "size": [32, 32], "scale": [0.6, 1.0]},
        {"kind": "random_crop", "size": [32, 32], "padding": 4},
    ]

    @model_validator(mode="after")
    def _scale_and_ratio_fit(self) -> Self:
        refuse("RandomCrop", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.scale and not 0 < self.scale[0] <= self.scale[1] <= 1:
            yield Problem(("scale",), "range", "scale is [smallest, largest] with 0 < smallest <= largest <= 1.")
        if self.ratio and not 0 < self.ratio[0] <= self.ratio[1] <= 100:
            yield Problem(("ratio",), "range", "ratio is [smallest, largest] with 0 < smallest <= largest <= 100.")
        if self.ratio and not self.scale:
            yield Problem(("ratio",), "needs_scale", "ratio has a meaning only with scale: add scale, or remove ratio.")
        if self.scale and self.padding:
            yield Problem(("padding",), "excludes_scale", "padding goes with a crop without scale: remove one of them.")


class RandomFlip(Spec):
    """Mirror each image with the given probability."""

    kind: Literal["random_flip"] = "random_flip"
    axis: Literal["horizontal", "vertical"] = Field(
        "horizontal", description="`horizontal` swaps left and right, `vertical` top and bottom."
    )
    probability: Probability = 0.5

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "random_flip", "axis": "horizontal", "probability": 0.5}]


class RandomRotate(Spec):
    """Turn each image by an angle drawn uniformly from [-degrees, degrees], about its centre."""

    kind: Literal["random_rotate"] = "random_rotate"
    degrees: Number = Field(gt=0, le=180, description="Largest angle, in degrees.")
    probability: Probability = Field(1.0, description="Share of the images that are turned at all.")
    border: BorderField = "reflect"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "random_rotate", "degrees": 15}]


class Resize(Spec):
    """Scale each image to exactly `size`, antialiased when it shrinks. Also used in evaluation."""

    kind: Literal["resize"] = "resize"
    size: Size
    fit: Literal["stretch", "cover"] = Field(
        "stretch",
        description="`stretch` shows the whole image, distorted where its shape is another; `cover` its largest part "
        "of the right shape, from the middle.",
    )

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "resize", "size": [64, 64]},
        {"kind": "resize", "size": [64, 64], "fit": "cover"},
    ]


class CenterCrop(Spec):
    """Cut `size` from the middle of each image; a smaller image is shown whole, with its border around it.

    Also used in evaluation, where it is the counterpart of a pad-and-crop.
    """

    kind: Literal["center_crop"] = "center_crop"
    size: Size
    border: BorderField = "reflect"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "center_crop", "size": [28, 28]}]


Share = Annotated[Number, Field(ge=0, le=1)]


class RandomAffine(Spec):
    """Shift, scale and shear each image about its centre, each by a value drawn for it.

    The parts that are left out do nothing; at least one is given. Turning is `random_rotate`.
    """

    kind: Literal["random_affine"] = "random_affine"
    translate: tuple[Share, Share] | None = Field(
        None, description="[vertical, horizontal] largest shift either way, as shares of the height and the width."
    )
    scale: PositivePair | None = Field(
        None, description="[smallest, largest] magnification, in (0, 10]; its logarithm is drawn uniformly."
    )
    shear: Number | None = Field(
        None, gt=0, lt=80, description="Largest angle, in degrees, by which columns and rows lean either way."
    )
    probability: Probability = Field(1.0, description="Share of the images that are changed at all.")
    border: BorderField = "reflect"

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "random_affine", "translate": [0.1, 0.1], "scale": [0.8, 1.25]},
        {"kind": "random_affine", "shear": 15, "probability": 0.5, "border": "constant"},
    ]

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        refuse("RandomAffine", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.scale and not 0 < self.scale[0] <= self.scale[1] <= 10:
            yield Problem(("scale",), "range", "scale is [smallest, largest] with 0 < smallest <= largest <= 10.")
        if self.translate is None and self.scale is None and self.shear is None:
            yield Problem((), "does_nothing", "Give at least one of translate, scale and shear.")
