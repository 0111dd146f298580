"""Data sets as users register and see them, and what a worker's check found."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.contract.failures import Failure
from app.contract.file_table import Finding, Part, Status
from app.contract.views import View


class DatasetSource(BaseModel):
    """Where a data set's files are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["folder"] = "folder"
    path: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")


class UploadSource(BaseModel):
    """The files are sent: `PUT /v1/datasets/{id}/archive`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["upload"]


def _folder_unless_said(source: object) -> object:
    return {"kind": "folder", **source} if isinstance(source, dict) else source


class DatasetSpec(BaseModel):
    """A data set to register."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Registered again under the same name, it is the next revision of it.",
    )
    source: Annotated[DatasetSource | UploadSource, Field(discriminator="kind"), BeforeValidator(_folder_unless_said)]


class RefusedFile(View):
    """A file that cannot be trained on."""

    name: str
    reason: str


class ImageSizes(View):
    """Of all usable images, in pixels."""

    min_height: int
    max_height: int
    min_width: int
    max_width: int


class FoundFile(View):
    """A file whose content another file of the set has too, byte by byte."""

    name: str
    finding: Finding
    duplicate_of: str = Field(description="The other file: the first one that makes it this finding.")


class DatasetFacts(View):
    """What the import found."""

    sha256: str = Field(description="Of names and contents of all usable files: what a job records that it trained on.")
    classes: dict[str, int] = Field(description="Images per class. In lists: of the first 100.")
    class_count: int
    images: int
    validation_images: int = Field(description="Of the data's own `val/`; 0 when a share is held out.")
    size_bytes: int
    image_sizes: ImageSizes
    formats: dict[str, int] = Field({}, description="Images per format: jpeg, png, webp, bmp, tiff.")
    refused: list[RefusedFile] = Field(description="At most 1,000; `refused_count` counts all. In lists: at most 10.")
    refused_count: int
    findings: list[FoundFile] = Field(
        [], description="The worst come first, at most 100; `finding_counts` counts all. In lists: at most 10."
    )
    finding_counts: dict[Finding, int] = Field({}, description="All of them, by what they are.")
    warnings: list[str] = Field([], description="What may not be meant so, and does not keep the set from use.")

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, told: Any) -> Any:
        """Facts of before `class_count` was there name all classes."""
        if isinstance(told, dict) and isinstance(told.get("classes"), dict):
            return {"class_count": len(told["classes"]), **told}
        return told


class ImportProgress(View):
    """How far the import of a data set is."""

    stage: Literal["receiving", "unpacking", "checking"] = Field(
        "checking", description="`receiving`: a request is sending the archive just now."
    )
    files_seen: int = Field(description="Unpacked, or checked.")
    files: int = Field(description="All that are to be checked; 0 until they are listed.")
    archive_bytes_seen: int = Field(0, description="Of an archive: received, or unpacked, up to now.")
    archive_bytes: int = Field(0, description="All of the archive that is being unpacked; 0 in other stages.")


class ReceivedArchive(View):
    """What was uploaded, as it came."""

    size_bytes: int
    sha256: str = Field(description="Of the archive itself; the data set's own, of its files, is in `facts`.")


class UploadedSource(View):
    """The files were sent, or are waited for."""

    kind: Literal["upload"]
    archive: ReceivedArchive | None = Field(None, description="null until all of it has come.")


class Dataset(View):
    """A revision of a registered data set: never changed, and pinned to the content that was found."""

    id: str
    name: str
    revision: int = Field(description="Counts from 1 within the name; a number is never given again.")
    source: Annotated[DatasetSource | UploadedSource, Field(discriminator="kind")]
    state: Literal["importing", "ready", "failed"]
    waiting_for: Literal["archive"] | None = Field(
        None, description="`archive`: its files must be sent first, with `PUT /v1/datasets/{id}/archive`."
    )
    created_at: datetime
    progress: ImportProgress | None = Field(
        description="While an archive is received, and while a worker unpacks it and checks the files."
    )
    facts: DatasetFacts | None
    failure: Failure | None


class Sample(View):
    """A file of a data set, as the import found it."""

    path: str = Field(description="Relative to the data set's folder.")
    label: str | None = Field(description="Its class; null where a refused file has none.")
    part: Part | None = Field(description="Null when the set brings no validation images of its own.")
    status: Status
    reason: str | None = Field(description="Why it is refused.")
    finding: Finding | None
    duplicate_of: str | None
    format: str | None
    height: int | None = Field(description="In pixels, after orientation.")
    width: int | None
    size_bytes: int | None
    sha256: str | None = Field(description="Of its content.")


class SamplePage(View):
    """One page of a data set's files. With filters a page can be short, or empty, although more follow."""

    items: list[Sample]
    next_cursor: str | None


class DatasetPage(View):
    """One page of data sets."""

    items: list[Dataset]
    next_cursor: str | None
