"""Kinds that change values, not places. They work on the final image, after the one resample."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.contract.augment.geometric import PositivePair
from app.contract.spec import Number, Probability, Problem, Spec, refuse

Strength = Annotated[Number, Field(ge=0, le=1)]


class ColorJitter(Spec):
    """Vary brightness, contrast, saturation and hue of each image.

    Each is a linear map of the colours (contrast: about the mean grey of the image), so the four become one map and
    values are cut off once, at the end. Factors are uniform in [1 - strength, 1 + strength]; hue turns the chroma
    plane of YIQ (ITU-R BT.601 weights). The idea is that of arXiv 1312.5402.
    """

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: Strength = Field(0.0, description="Largest change of the factor on all values.")
    contrast: Strength = Field(0.0, description="Largest change of the factor on the distance to the mean grey.")
    saturation: Strength = Field(0.0, description="Largest change of the factor on the distance to grey.")
    hue: Annotated[Number, Field(ge=0, le=0.5)] = Field(0.0, description="Largest turn either way, in full turns.")
    probability: Probability = Field(1.0, description="Share of the images that are changed at all.")

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "color_jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    ]

    @model_validator(mode="after")
    def _something_varies(self) -> Self:
        refuse("ColorJitter", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            yield Problem((), "does_nothing", "Give at least one of brightness, contrast, saturation and hue.")


class Grayscale(Spec):
    """Take the colour out of some images; they keep their three channels. Weights of ITU-R BT.601."""

    kind: Literal["grayscale"] = "grayscale"
    probability: Probability = Field(0.1, description="Share of the images that lose their colour.")

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "grayscale", "probability": 0.2}]


class GaussianBlur(Spec):
    """Blur some images with a Gaussian whose width is drawn for each (SimCLR, arXiv 2002.05709)."""

    kind: Literal["gaussian_blur"] = "gaussian_blur"
    sigma: PositivePair = Field((0.1, 2.0), description="[smallest, largest] deviation, in final pixels, in (0, 20].")
    probability: Probability = Field(0.5, description="Share of the images that are blurred.")

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "gaussian_blur", "sigma": [0.1, 2.0], "probability": 0.5}]

    @model_validator(mode="after")
    def _sigma_fits(self) -> Self:
        refuse("GaussianBlur", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if not 0 < self.sigma[0] <= self.sigma[1] <= 20:
            yield Problem(("sigma",), "range", "sigma is [smallest, largest] with 0 < smallest <= largest <= 20.")


class RandomErasing(Spec):
    """Cover a rectangle of some images (Zhong et al., arXiv 1708.04896). It comes behind all kinds that move pixels."""

    kind: Literal["random_erasing"] = "random_erasing"
    scale: PositivePair = Field((0.02, 0.33), description="[smallest, largest] share of the area, in (0, 1].")
    ratio: PositivePair = Field((0.3, 3.3), description="[smallest, largest] width / height of the rectangle.")
    fill: Literal["mean", "noise", "black"] = Field(
        "mean", description="`mean`: the mean colour of the image; `noise`: every value drawn by itself."
    )
    probability: Probability = Field(0.5, description="Share of the images that lose a rectangle.")

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "random_erasing", "probability": 0.25},
        {"kind": "random_erasing", "scale": [0.1, 0.2], "fill": "noise"},
    ]

    @model_validator(mode="after")
    def _scale_and_ratio_fit(self) -> Self:
        refuse("RandomErasing", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            yield Problem(("scale",), "range", "scale is [smallest, largest] with 0 < smallest <= largest <= 1.")
        if not 0 < self.ratio[0] <= self.ratio[1] <= 100:
            yield Problem(("ratio",), "range", "ratio is [smallest, largest] with 0 < smallest <= largest <= 100.")
