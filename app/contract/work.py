"""The worker's door: what is said between a worker and the service (`/internal/v1`), and what a run is told."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.contract.data import Folder
from app.contract.datasets import ImportProgress
from app.contract.distributed import fewest, is_elastic
from app.contract.events import ArtifactFile, Event, PlainData, Size, plain
from app.contract.failures import Failure
from app.contract.job import JobSpec
from app.contract.report import Report
from app.contract.states import StopWish

Token = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$")]


class Message(BaseModel):
    """A body of the internal door. Unknown fields are ignored, so that service and workers can be upgraded apart."""

    model_config = ConfigDict(ser_json_inf_nan="strings")


class Device(Message):
    """One place where one training process can run: a GPU, or a CPU slot on a host without GPUs."""

    index: int = Field(ge=0, lt=1024)
    kind: Literal["cpu", "cuda"]
    name: str = Field(max_length=200)
    memory_bytes: Size


class Told(Message):
    """A message with text in it that nobody has looked at yet: names of devices, messages of other programs."""

    @model_validator(mode="before")
    @classmethod
    def _readable(cls, data: Any) -> Any:
        return plain(data)


class WorkerInfo(Told):
    """A host that asks for work. `id` stays the same over restarts of its processes."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    host: str = Field(max_length=255)
    devices: list[Device] = Field(max_length=1024)
    versions: dict[str, str] = {}
    extras: list[str] = Field([], max_length=16, description="Optional libraries that it has, such as tensorflow.")
    task_slots: int = Field(1, ge=0, le=64, description="Background tasks that it will take beside jobs.")


class Paths(Message):
    """Where a run finds and leaves things on the shared file system. Absolute."""

    run_dir: str = Field(description="The attempt's own folder; everything the run writes lies under it.")
    dataset: str | None = Field(None, description="Folder of the images; null for built-in sets.")
    dataset_sha256: str | None = Field(None, description="Of a registered set's facts; another content is refused.")
    dataset_files: str | None = Field(None, description="Of a registered set: its table of files, files.csv.")
    model: str | None = Field(None, description="Folder with model.json and model.safetensors to start from.")
    baseline: str | None = Field(None, description="The same of the job that this one is compared with.")
    teacher: str | None = Field(None, description="Folder of the same files of the network to learn from.")
    resume: str | None = Field(None, description="Folder of the checkpoint to go on from.")
    resume_older: list[str] = Field(
        [], description="Folders of those saved before it, newest first, should it be damaged."
    )
    weights: str | None = Field(None, description="Folder in which pretrained weights are looked for.")


class Split(Message):
    """Which images a job held out for validation, where its data has no part for that."""

    seed: int
    validation_fraction: float


class RunOrder(Message):
    """All that a training run is told: `python -m worker.training` reads this, or a bare job spec."""

    spec: JobSpec
    paths: Paths
    baseline_split: Split | None = Field(None, description="Of the job that this one is compared with.")
    model_split: Split | None = Field(None, description="Of the job whose network this one starts from.")
    teacher_split: Split | None = Field(None, description="Of the job whose network this one learns from.")
    job: str | None = Field(None, description="Its id, for the files that it leaves; null in a run by hand.")
    device_kind: Literal["cpu", "cuda"] = "cpu"
    devices: list[int] = Field([0], description="Device indices, one for each process.")
    time_left_s: float | None = Field(None, description="Of limits.max_duration_s, after earlier attempts.")
    bad_image_share: float = Field(0.01, description="Share of unreadable images beyond which the data set is refused.")

    @property
    def processes(self) -> int:
        """Of the training: as the spec says or, where it leaves that open, one for each device."""
        least = fewest(self.spec.distributed)
        return max(least, len(self.devices)) if is_elastic(self.spec.distributed) else least


class JobWork(Message):
    """A claimed job. `token` proves the claim: whoever shows another one is fenced."""

    type: Literal["job"] = "job"
    job: str
    attempt: int
    token: str
    lease_s: float = Field(description="The claim ends when no heartbeat came for so long.")
    heartbeat_s: float
    grace_s: float = Field(description="From SIGTERM to SIGKILL when a stop is wished.")
    traceparent: str | None = None
    order: RunOrder


class PlanTask(Message):
    """Find the plan of a spec, for a dry run."""

    kind: Literal["plan"] = "plan"
    order: RunOrder


class Archive(Message):
    """A file that is to be unpacked first, and how much of it may come out."""

    path: str
    max_unpacked_bytes: int = Field(256 << 30, description="In all.")
    min_free_bytes: int = Field(0, description="Of the disk, to stay free.")


class ImportTask(Message):
    """Check a data set's folder, file by file."""

    kind: Literal["import"] = "import"
    source: Folder
    path: str
    results: str | None = Field(None, description="Folder of this try alone, for files.csv; absolute.")
    bad_image_share: float = 0.01
    archive: Archive | None = Field(None, description="Of an upload: `path` is made of it.")


class PreviewTask(Message):
    """Show what the augmentations of a spec do to some of its training images. Files go to `order.paths.run_dir`."""

    kind: Literal["preview"] = "preview"
    order: RunOrder
    count: int
    epochs: int


TaskOrder = Annotated[PlanTask | ImportTask | PreviewTask, Field(discriminator="kind")]


class TaskWork(Message):
    """A claimed background task: runs in a bounded child process and needs no device."""

    type: Literal["task"] = "task"
    task: str
    token: str
    lease_s: float
    order: TaskOrder


Work = Annotated[JobWork | TaskWork, Field(discriminator="type")]


class TaskResult(Told):
    """What a background task found: `result` or `failure`."""

    token: Token
    result: PlainData | None = None
    failure: Failure | None = None


class AttemptToken(Message):
    """Proof that the speaker holds the attempt."""

    token: Token


class Heartbeat(AttemptToken):
    """Every `heartbeat_s`: extends the lease."""


class TaskHeartbeat(AttemptToken):
    """Extends the lease of a background task, and says how far it is."""

    progress: ImportProgress | None = None


class HeartbeatReply(Message):
    """What the user wishes of the job, if anything."""

    stop: StopWish | None = None


class ReportBatch(AttemptToken):
    """Reported events, in order of `seq`. Sent again, a batch changes nothing."""

    events: list[Event] = Field(max_length=5000)


class ReportReply(Message):
    """Everything up to `acknowledged` is durable and need not be sent again."""

    acknowledged: int
    stop: StopWish | None = None


class Finish(AttemptToken, Told):
    """The end of an attempt, sent when its process group is gone.

    `released`: it was asked to stop and did; the service decides what the job becomes. `failed`: `failure` says why,
    and its code whether another attempt follows; report and artifacts are kept when none does.
    """

    outcome: Literal["succeeded", "failed", "released"]
    failure: Failure | None = None
    report: Report | None = None
    artifacts: list[ArtifactFile] = []
