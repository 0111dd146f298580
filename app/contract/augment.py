"""How training images are varied. Geometric kinds compose into one matrix, so each image is resampled once."""

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

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "resize", "size": [64, 64]}]


ChannelValues = Annotated[tuple[Number, ...], Field(min_length=1, max_length=3)]


class Normalize(Spec):
    """Subtract a mean and divide by a deviation, per channel, on the device. Always last; also used in evaluation."""

    kind: Literal["normalize"] = "normalize"
    mean: ChannelValues | None = Field(None, description="Per channel, of values in [0, 1]. Null: fitted to the data.")
    std: ChannelValues | None = Field(None, description="Per channel, above 0. Null: fitted to the data.")

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "normalize"},
        {"kind": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    ]

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        refuse("Normalize", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if (self.mean is None) != (self.std is None):
            missing = "mean" if self.mean is None else "std"
            yield Problem((missing,), "incomplete", "Give mean and std together, or neither to fit them to the data.")
        elif self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            yield Problem(("std",), "length", "mean and std need one value per channel each.")
        if self.std is not None and min(self.std) <= 0:
            yield Problem(("std",), "range", "Each std must be above 0.")


Augment = Annotated[RandomCrop | RandomFlip | RandomRotate | Resize | Normalize, Field(discriminator="kind")]
