"""The resources as users see them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.contract.events import Progress
from app.contract.failures import Failure
from app.contract.file_table import Finding, Part, Status
from app.contract.job import JobName, JobSpec, LabelField, LabelKey, LabelValue, Priority
from app.contract.plan import Plan
from app.contract.report import Report
from app.contract.states import JobState, StopWish


class View(BaseModel):
    """Something that the service answers."""

    model_config = ConfigDict(ser_json_inf_nan="strings")


PendingReason = Literal["no_worker", "no_capable_worker", "waiting_for_gpus", "backing_off", "broker_down"]


class Pending(View):
    """Why a queued job waits, and its place in the queue."""

    reason: PendingReason
    detail: str
    position: int = Field(description="1 is next. Counted up to 1,000: 1,001 means behind at least so many.")


class Job(View):
    """A job. `version` grows with every change and is the ETag."""

    id: str
    name: str
    labels: dict[str, str]
    priority: int
    version: int
    state: JobState
    stop_requested: StopWish | None
    phase: str | None
    spec: JobSpec
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int = Field(description="Attempts begun; 0 before the first.")
    cloned_from: str | None
    pending: Pending | None
    progress: Progress | None
    latest_metrics: dict[str, float | str]
    failure: Failure | None
    report: Report | None
    dataset_sha256: str | None = Field(
        None, description="Of the names and contents that it trains on; null until they are read."
    )


class JobPage(View):
    """One page of jobs; no `next_cursor` means that it is the last."""

    items: list[Job]
    next_cursor: str | None


class JobPatch(BaseModel):
    """What can be changed after submission, as a JSON merge patch (RFC 7396): a label set to null is removed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: JobName | None = None
    labels: Annotated[dict[LabelKey, LabelValue | None], LabelField] | None = None
    priority: Priority | None = None


class DryRun(View):
    """What a spec would do, without storing it."""

    spec: JobSpec
    plan: Plan


class Series(View):
    """Points of one metric, column by column. With buckets, `value` is the mean of each; `min` and `max` are exact."""

    step: list[int]
    time: list[datetime]
    value: list[float | str]
    min: list[float | str]
    max: list[float | str]


class MetricsPage(View):
    """`cursor` asks, as `after`, for what is new."""

    series: dict[str, Series]
    cursor: str


class JobEvent(View):
    """Something that happened to a job. `seq` grows by 1 within the job."""

    seq: int
    type: str
    time: datetime
    data: dict[str, Any]


class EventPage(View):
    """`cursor` asks, as `after`, for what is new."""

    items: list[JobEvent]
    cursor: str


class LogLine(View):
    """One line that a rank wrote."""

    time: datetime
    attempt: int
    rank: int | None
    level: Literal["debug", "info", "warning", "error"]
    message: str


class Attempt(View):
    """One try at running the job."""

    attempt: int
    worker: str
    devices: list[int]
    state: Literal["open", "succeeded", "failed", "released", "lost"]
    started_at: datetime
    finished_at: datetime | None
    failure: Failure | None


class CheckpointView(View):
    """A durable point from which the job can go on."""

    attempt: int
    epoch: int
    step: int
    phase: str
    created_at: datetime
    size_bytes: int
    sha256: str


class Artifact(View):
    """A file that the job left; `url` downloads it, ranges included."""

    name: str
    size_bytes: int
    sha256: str
    media_type: str
    url: str


class DatasetSource(BaseModel):
    """Where a data set's files are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["folder"] = "folder"
    path: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")


class DatasetSpec(BaseModel):
    """A data set to register."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Registered again under the same name, a folder is the next revision of it.",
    )
    source: DatasetSource


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
    finding_counts: dict[Finding, int] = {}
    warnings: list[str] = Field([], description="What may not be meant so, and does not keep the set from use.")

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, told: Any) -> Any:
        """Facts of before `class_count` was there name all classes."""
        if isinstance(told, dict) and isinstance(told.get("classes"), dict):
            return {"class_count": len(told["classes"]), **told}
        return told


class ImportProgress(View):
    """How far the check of a data set is."""

    files_seen: int
    files: int = Field(description="All of the set; 0 until they are listed.")


class Dataset(View):
    """A revision of a registered data set: never changed, and pinned to the content that was found."""

    id: str
    name: str
    revision: int = Field(description="Counts from 1 within the name; a number is never given again.")
    source: DatasetSource
    state: Literal["importing", "ready", "failed"]
    created_at: datetime
    progress: ImportProgress | None = Field(description="While a worker checks the files.")
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


class WorkerDevice(View):
    """A GPU or CPU slot and what runs on it."""

    index: int
    kind: Literal["cpu", "cuda"]
    name: str
    memory_bytes: int
    job: str | None


class Worker(View):
    """A host that takes jobs."""

    id: str
    host: str
    state: Literal["alive", "lost"]
    last_seen_at: datetime
    devices: list[WorkerDevice]
    versions: dict[str, str]


class WorkerList(View):
    """All known workers."""

    items: list[Worker]
