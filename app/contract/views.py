"""The resources as users see them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.contract.events import Progress
from app.contract.failures import Failure
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
    report: Report | None = Field(description="Without its `classes` if they are more than 100: see `/report`.")
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
    extras: list[str] = Field([], description="Optional libraries that it has; `tensorflow` is for `mirrored`.")


class WorkerList(View):
    """All known workers."""

    items: list[Worker]
