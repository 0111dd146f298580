"""Which network is trained, and from which weights it starts."""

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from app.contract.keras_names import WITH_WIDTH, KerasName
from app.contract.spec import Flag, Number, Problem, Spec, refuse


@cache
def timm_names() -> frozenset[str]:
    """Every name that the pinned timm can build. Generated (`make names`), so that the service needs no torch."""
    return frozenset(files("app.contract").joinpath("timm_models.txt").read_text("utf-8").split())


def _known_to_timm(name: str) -> str:
    if name not in timm_names():
        near = ", ".join(get_close_matches(name, timm_names(), n=3)) or "see GET /v1/catalog/models"
        raise PydanticCustomError(
            "unknown_model",
            "The pinned timm has no model '{name}'. Close names: {near}.",
            {"name": name, "near": near},
        )
    return name


class Timm(Spec):
    """An image classifier of the timm library, by its name there, with a classifier for the classes of the data."""

    kind: Literal["timm"] = "timm"
    name: Annotated[str, AfterValidator(_known_to_timm)] = Field(
        max_length=200,
        pattern=r"^[^\x00]+$",
        description="Architecture, with or without a pretrained tag: `resnet18`, `resnet18.a1_in1k`.",
    )
    channels: Literal[1, 3] = Field(3, description="1 trains on luminance, 3 on RGB.")
    pretrained: Flag = Field(
        False, description="Start from weights present on the worker; refused when there are none."
    )

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "timm", "name": "resnet10t"}]


class KerasApplication(Spec):
    """An image classifier of keras.applications, with random weights and a classifier for the classes of the data.

    Trained by TensorFlow: `distributed` must be `mirrored`.
    """

    kind: Literal["keras_application"] = "keras_application"
    name: KerasName = Field(description="As in keras.applications, in lower case.")
    channels: Literal[1, 3] = Field(3, description="1 trains on luminance, 3 on RGB.")
    width: Number = Field(
        1.0, ge=0.1, le=4, description="What the channels of a MobileNet are multiplied by; 1 for all others."
    )

    needs_extra = "tensorflow"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "keras_application", "name": "mobilenet_v2", "width": 0.35}]

    @model_validator(mode="after")
    def _width_is_known(self) -> Self:
        if self.width != 1 and self.name not in WITH_WIDTH:
            detail = f"{self.name} has one width: leave it out, or use one of {', '.join(WITH_WIDTH)}."
            refuse("KerasApplication", [Problem(("width",), "no_width", detail)], self)
        return self


class Checkpoint(Spec):
    """The network and weights that an earlier job ended with, one that succeeded or missed a gate."""

    kind: Literal["checkpoint"] = "checkpoint"
    job: str = Field(pattern=r"^job_[0-9a-z]{1,40}$", description="The id of that job. Its classes must be the same.")

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "checkpoint", "job": "job_0123456789abcdef"}]


Model = Annotated[Timm | KerasApplication | Checkpoint, Field(discriminator="kind")]


def comes_with_weights(model: Timm | KerasApplication | Checkpoint) -> bool:
    """Whether training starts from weights that were trained before."""
    return model.pretrained if isinstance(model, Timm) else isinstance(model, Checkpoint)
