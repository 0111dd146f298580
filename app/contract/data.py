"""Where the images of a job come from."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from app.contract.spec import Number, Spec

ValidationFraction = Annotated[
    Number,
    Field(
        gt=0,
        le=0.5,
        description="Share held out when the data has no `val/` of its own; stratified by class, fixed by the seed.",
    ),
]


class Registered(Spec):
    """A data set that was registered with `POST /v1/datasets`, checked, and pinned to its content hash."""

    kind: Literal["registered"] = "registered"
    id: str = Field(pattern=r"^ds_[0-9a-z]{1,40}$", description="The id of the data set.")
    validation_fraction: ValidationFraction = 0.2

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "registered", "id": "ds_0123456789abcdef"}]


class Folder(Spec):
    """A folder the service can read: one sub-folder per class, `train/` and `val/` with those, or a `labels.csv`."""

    kind: Literal["folder"] = "folder"
    path: str = Field(
        min_length=1,
        max_length=1000,
        pattern=r"^[^\x00]+$",
        description="Absolute, or relative to a configured root. Must lie under a root after links are resolved.",
    )
    validation_fraction: ValidationFraction = 0.2

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "folder", "path": "flowers"}]


class Builtin(Spec):
    """A small real data set that a dependency ships, for the first run and for tests.

    `digits`: 1,797 handwritten digits, 8x8, 10 classes (scikit-learn; UCI ML hand-written digits, test part).
    `fashion_mnist`: 70,000 articles of clothing, 28x28, 10 classes (arXiv 1708.07747), where its files are installed.
    """

    kind: Literal["builtin"] = "builtin"
    name: Literal["digits", "fashion_mnist"] = Field(description="Which one.")
    validation_fraction: ValidationFraction = 0.2

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "builtin", "name": "digits"}]


BUILTIN_SIZES: dict[str, tuple[int, int]] = {"digits": (8, 8), "fashion_mnist": (28, 28)}
"""Height and width of every image of a built-in set, in pixels: what makes crops checkable when the spec is read."""

Data = Annotated[Registered | Folder | Builtin, Field(discriminator="kind")]
