"""Previews: what an augmentation list does to images of a data set, seen before anything is trained."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.contract.augment import Augment, Border, Evaluation
from app.contract.data import Data
from app.contract.datasets import RefusedFile
from app.contract.job import JobSpec
from app.contract.models import Timm
from app.contract.spec import Int, Problem, Spec, refuse
from app.contract.training import Training
from app.contract.views import View

MOST_PIXELS = 2**23
"""Of all images of a preview together, each counted as at least `LEAST_SIDE` wide and high: 64 of 224x224, twice."""

LEAST_SIDE = 96
"""In a grid smaller images are enlarged towards this many pixels, or nobody would see anything."""


class PreviewSpec(Spec):
    """Which images to show, and how they are varied: fields of a job spec, with the same rules between them.

    A job with this `dataset`, `augment`, `training.seed` and `model.channels` feeds its network exactly these pixels,
    before normalisation.
    """

    dataset: Data
    augment: tuple[Augment, ...] = Field((), max_length=32, description="Applied in this order.")
    evaluation: tuple[Evaluation, ...] = Field(
        (), max_length=32, description="How images are brought to size in evaluation. Empty: the counterpart."
    )
    channels: Literal[1, 3] = Field(3, description="As the model reads them: 1 luminance, 3 RGB.")
    count: Int = Field(
        16,
        ge=1,
        le=64,
        description="How many training images: of each class in turn, in the order of the first epoch. All, if fewer.",
    )
    epochs: Int = Field(1, ge=1, le=8, description="How each image looks in so many epochs, from the first on.")
    seed: Int = Field(0, ge=0, lt=2**53, description="As `training.seed`: fixes split, choice and augmentation.")

    examples: ClassVar[list[dict[str, Any]]] = [
        {
            "dataset": {"kind": "builtin", "name": "digits"},
            "augment": [
                {"kind": "random_crop", "size": [32, 32], "scale": [0.6, 1.0]},
                {"kind": "random_rotate", "degrees": 15},
            ],
            "count": 8,
            "epochs": 3,
            "seed": 7,
        },
        {"dataset": {"kind": "folder", "path": "flowers"}, "augment": [{"kind": "trivial_augment"}]},
    ]

    @model_validator(mode="after")
    def _is_a_job_of_bounded_size(self) -> Self:
        refuse("PreviewSpec", self._problems(self.job().image_size), self)
        return self

    def _problems(self, size: tuple[int, int]) -> Iterator[Problem]:
        each = (1 + self.epochs) * max(size[0], LEAST_SIDE) * max(size[1], LEAST_SIDE)
        most = MOST_PIXELS // each
        if most < self.count:
            way_out = f"at most {most} fit" if most else "not even one fits: use a smaller size, or fewer epochs"
            detail = (
                f"Images of {size[0]}x{size[1]}, evaluated and in {self.epochs} epochs, are many pixels: {way_out}."
            )
            yield Problem(("count",), "too_many_pixels", detail)

    def job(self) -> JobSpec:
        """The job whose images these are; its network sees nothing of them. Raises as a job spec with such fields."""
        return JobSpec(
            dataset=self.dataset,
            model=Timm(name="resnet10t", channels=self.channels),
            augment=self.augment,
            evaluation=self.evaluation,
            training=Training(seed=self.seed),
        )

    def resolved(self) -> "PreviewSpec":
        """The same with image size, normalisation and evaluation written out."""
        job = self.job().resolved()
        return self.model_copy(update={"augment": job.augment, "evaluation": job.evaluation})


Png = Annotated[str, Field(description="A PNG file, in base64.")]
Value = bool | int | float | str | list[float]


class Drawn(View):
    """What one entry of `augment` drew for one image. Lengths are in pixels of the image that the entry was given."""

    position: int = Field(description="Its place in `spec.augment`, from 0.")
    kind: str
    values: dict[str, Value]


class MixedWith(View):
    """The training image that an image was mixed with, and how much of it."""

    sample: int
    name: str
    label: str
    weight: float = Field(description="Of the image's own label, in [0, 1]; that of the partner's is the rest.")
    box: tuple[int, int, int, int] = Field(
        description="[top, left, height, width]: what is the partner's alone; of no area for `mixup`."
    )


class PreviewImage(View):
    """A training image as the network sees it in one epoch."""

    sample: int = Field(description="Its number in the training set.")
    name: str = Field(description="The file, or the number in a built-in set.")
    label: str = Field(description="Its class.")
    epoch: int = Field(description="From 0.")
    png: Png
    drawn: list[Drawn] = Field(description="In the order of `spec.augment`; what draws nothing is left out.")
    matrix: list[list[float]] = Field(
        description="2x3: from (x, y, 1), a pixel of this image, to the pixel that it shows of the source image."
    )
    border: Border | None = Field(description="What stands beyond the source's edges; null where nothing does.")
    mixed: MixedWith | None = Field(None, description="With `mixup` or `cutmix`; null where it was left alone.")


class PreviewOriginal(View):
    """The same image as it is evaluated: brought to size, nothing drawn. The source image is the file's, or for a large
    file the smaller one that training reads."""

    sample: int
    name: str
    label: str
    height: int = Field(description="Of the source image, in pixels; a large one is stored, and counted here, smaller.")
    width: int
    png: Png


class Preview(View):
    """What an augmentation list does to images of a data set."""

    spec: PreviewSpec = Field(description="With all defaults written out.")
    images: list[PreviewImage] = Field(description="All epochs of the first sample, then of the next.")
    originals: list[PreviewOriginal] = Field(description="One for each sample.")
    refused: list[RefusedFile] = Field(description="Files of the set that cannot be trained on; at most 1,000.")
    refused_count: int


class StoredFile(BaseModel):
    """A file that a task left in its folder, named by its SHA-256."""

    model_config = ConfigDict(frozen=True)

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int = Field(ge=0)


class PreviewFiles(BaseModel):
    """The result of the task: files, since a task's result travels through the database and these are megabytes."""

    grid: StoredFile
    document: StoredFile
