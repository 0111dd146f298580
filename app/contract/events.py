"""What a training run reports, one JSON object a line, in order. `seq` counts from 1 within an attempt."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from app.contract.failures import Failure
from app.contract.plan import MethodEffect, Plan
from app.contract.report import Report

Phase = Literal["planning", "baseline", "training", "measuring"]


def plain(value: Any) -> Any:
    """As JSON and every database can carry it: NULs, unpaired surrogates and integers beyond 64 bits become text."""
    if isinstance(value, str):
        shown = value.replace("\0", "\\x00") if "\0" in value else value
        return shown if shown.isascii() else shown.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


PlainData = Annotated[dict[str, Any], AfterValidator(plain)]
Size = Annotated[int, Field(ge=0, lt=2**63)]
"""Bytes. More than 64 bits is in no column."""
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(/[a-z0-9_]+){0,3}$", max_length=100)]


class Reported(BaseModel):
    """A line of the run's report."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    seq: int = Field(ge=1)
    time: datetime


class Told(Reported):
    """A line with text in it that nobody has looked at yet: of file names, of drivers, of other programs' messages."""

    @model_validator(mode="before")
    @classmethod
    def _readable(cls, data: Any) -> Any:
        return plain(data)


class PhaseBegun(Reported):
    """The run entered a phase of its work."""

    type: Literal["phase"] = "phase"
    phase: Phase


class Planned(Told):
    """The plan of the run, the same as a dry run would give."""

    type: Literal["plan"] = "plan"
    plan: Plan


class DataRead(Reported):
    """The images are there: the data that this run trains on."""

    type: Literal["data"] = "data"
    dataset_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of names and contents of all usable images.")
    train_images: int = Field(ge=0, lt=2**53)
    validation_images: int = Field(ge=0, lt=2**53)


class Compressed(MethodEffect, Told):
    """A compression method changed the network that is about to be trained: one event for each, in their order.

    Told when training starts from the first step, not when it goes on from a checkpoint.
    """

    type: Literal["compressed"] = "compressed"


class Metrics(Reported):
    """Values at one optimizer step, counted from 1. NaN and infinities are values too."""

    type: Literal["metrics"] = "metrics"
    step: int = Field(ge=1, le=2**53)
    values: dict[MetricName, float] = Field(min_length=1, max_length=100)


class Progress(BaseModel):
    """How far the run is, over all its phases that train: `fraction` in [0, 1], `eta_s` in seconds."""

    epoch: int = Field(description="Epochs completed.")
    epochs: int
    step: int = Field(description="Optimizer steps completed.")
    steps: int
    fraction: float = Field(ge=0, le=1)
    eta_s: float | None = None


class Progressed(Reported):
    """About once a second while training."""

    type: Literal["progress"] = "progress"
    progress: Progress


class EpochEnded(Reported):
    """An epoch of training and its evaluation are over."""

    type: Literal["epoch"] = "epoch"
    phase: Phase
    epoch: int = Field(ge=1)
    values: dict[MetricName, float]


class CheckpointSaved(Told):
    """A checkpoint is durable: its files are renamed into place and the folder is synced."""

    type: Literal["checkpoint"] = "checkpoint"
    phase: Phase
    epoch: int = Field(ge=0, lt=2**31, description="Epochs completed.")
    step: int = Field(ge=0, le=2**53, description="Optimizer steps completed.")
    path: str = Field(max_length=200, description="Folder, relative to the attempt's folder.")
    size_bytes: Size
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the checkpoint's manifest.")


class Noted(Told):
    """Something that a person should know: skipped files, a halved rate, a resumed run."""

    type: Literal["note"] = "note"
    level: Literal["info", "warning"]
    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)
    message: str = Field(max_length=4000)
    data: PlainData = {}


class ArtifactFile(BaseModel):
    """A file that the job leaves to its user."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    path: str = Field(max_length=200, description="Relative to the attempt's folder.")
    size_bytes: Size
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    media_type: str = Field("application/octet-stream", max_length=200, pattern=r"^[\x20-\x7e]*$")


class Succeeded(Told):
    """The last line of a run that did all its work."""

    type: Literal["succeeded"] = "succeeded"
    report: Report
    artifacts: list[ArtifactFile]


class Failed(Told):
    """The last line of a run that cannot go on. Where the failure keeps files, they are told of."""

    type: Literal["failed"] = "failed"
    failure: Failure
    report: Report | None = None
    artifacts: list[ArtifactFile] = []


class Stopped(Reported):
    """The last line of a run that was asked to stop; `saved` says whether a checkpoint of the last step is there."""

    type: Literal["stopped"] = "stopped"
    saved: bool


Event = Annotated[
    PhaseBegun
    | Planned
    | DataRead
    | Compressed
    | Metrics
    | Progressed
    | EpochEnded
    | CheckpointSaved
    | Noted
    | Succeeded
    | Failed
    | Stopped,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads one line; `event.model_dump_json()` writes it. Non-finite values travel as "NaN", "Infinity", "-Infinity"."""
