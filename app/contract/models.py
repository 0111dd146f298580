"""Which network is trained, and from which weights it starts."""

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from app.contract.spec import Flag, Spec


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


class Checkpoint(Spec):
    """The network and weights that an earlier job ended with, one that succeeded or missed a gate."""

    kind: Literal["checkpoint"] = "checkpoint"
    job: str = Field(pattern=r"^job_[0-9a-z]{1,40}$", description="The id of that job. Its classes must be the same.")

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "checkpoint", "job": "job_0123456789abcdef"}]


Model = Annotated[Timm | Checkpoint, Field(discriminator="kind")]


def comes_with_weights(model: Timm | Checkpoint) -> bool:
    """Whether training starts from weights that were trained before."""
    return model.pretrained if isinstance(model, Timm) else True
