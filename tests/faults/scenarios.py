"""What is under way when a fault point is crossed. Each is begun before the trouble and ends after it, as it must."""

import os
import signal
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx

from app.contract.faults import Point
from tests.faults import crossings
from tests.faults.stand_in import loss
from tests.faults.yard import Yard
from tests.support.image_sets import image_folder
from worker import records
from worker.warm import messages

FINAL = {"succeeded", "failed", "cancelled"}
STEPS = 16
QUICK_MS, SLOW_MS = 60, 250
EPOCHS = 2


class Scenario:
    """One job or data set, from a client who asks until it is answered, to its end. `full`: the disk was."""

    def __init__(self, yard: Yard, *, full: bool) -> None:
        self.yard = yard
        self.full = full
        self.key = str(uuid.uuid4())
        self._client = ThreadPoolExecutor(1)
        self._asked: Future[httpx.Response] | None = None

    def meet(self, point: Point) -> None:
        """Arm the point and begin: the first process that comes by stops there."""
        self.yard.arm(point)
        self.begin()

    def begin(self) -> None:
        """Come so far that the point will be reached."""
        raise NotImplementedError

    def end(self) -> None:
        """Wait for the end, and look at it."""
        raise NotImplementedError

    def _ask(self, path: str, **options: Any) -> None:
        """A POST from a thread, since the service may stand still in it."""
        self._asked = self._client.submit(self._persist, path, options)

    def _persist(self, path: str, options: dict[str, Any]) -> httpx.Response:
        while (answer := self.yard.call("POST", path, **options)) is None:
            pass
        return answer

    def _answer(self) -> httpx.Response:
        """Of the last `_ask`, which must have been granted."""
        answer = self._told()
        assert answer.is_success, answer.text
        return answer

    def _told(self) -> httpx.Response:
        """The same, whatever was said."""
        asked = self._asked
        assert asked is not None
        self.yard.until(asked.done, "the client is answered")
        return asked.result()


class JobScenario(Scenario):
    """A job of the stand-in run, to its success."""

    every_ms = QUICK_MS
    steps = STEPS
    hours_off = 0  # the clock of the run's host
    start = "cold"
    outcome = "succeeded"

    def begin(self) -> None:
        """Submit it."""
        self._ask("/v1/jobs", json=self.spec(), headers={"Idempotency-Key": self.key})

    def end(self) -> None:
        """The right end, and each step of the training once."""
        self.check(self._over(self.submitted()))

    def check(self, job: dict[str, Any]) -> None:
        """The end of the job, as the service shows it."""
        self.job = job
        ends = {job["state"], job["failure"]["code"]} if job["failure"] else {job["state"]}
        assert ends & ({self.outcome, "disk_full"} if self.full else {self.outcome}), job
        if job["state"] == "succeeded":
            self._check_metrics(job["id"])

    def spec(self) -> dict[str, Any]:
        """The job."""
        return {
            "dataset": {"kind": "builtin", "name": "digits"},
            "model": {"kind": "timm", "name": "resnet10t"},
            "labels": {name: str(getattr(self, name)) for name in ("steps", "every_ms", "hours_off")},
            "limits": {"max_attempts": 20},
            "start": self.start,
        }

    def submitted(self) -> str:
        """The id of the job. The same key, asked again, names the same."""
        job = str(self._answer().json()["id"])
        again = self.yard.told("POST", "/v1/jobs", json=self.spec(), headers={"Idempotency-Key": self.key})
        assert again.json()["id"] == job
        if job not in self.yard.submitted:
            self.yard.submitted.append(job)
        return job

    def _over(self, job_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            answer = self.yard.call("GET", f"/v1/jobs/{job_id}")
            job: dict[str, Any] = answer.json() if answer else {"state": "?"}
            if job["state"] == "queued" and job["attempt"]:
                self.yard.hasten(job_id)
            return job if job["state"] in FINAL else None

        found: dict[str, Any] = self.yard.until(look, f"{job_id} is over")
        return found

    def when(self, job_id: str, state: str) -> None:
        self.yard.until(lambda: self.yard.get(f"/v1/jobs/{job_id}")["state"] == state, f"{job_id} is {state}")

    def _check_metrics(self, job_id: str) -> None:
        found = self.yard.get(f"/v1/jobs/{job_id}/metrics?max_points=100000")["series"]["train/loss"]
        assert found["step"] == list(range(1, self.steps + 1))
        assert found["value"] == [loss(step) for step in found["step"]]


class Cancel(JobScenario):
    """A job that is cancelled while it runs."""

    every_ms = 4 * SLOW_MS
    outcome = "cancelled"

    def begin(self) -> None:
        """Submit it, and cancel it when it runs."""
        super().begin()
        self._job = self.submitted()
        self.when(self._job, "running")
        self._ask(f"/v1/jobs/{self._job}/cancel")

    def end(self) -> None:
        """It is cancelled, whoever heard of it how often."""
        answer = self._answer()
        assert answer.status_code in (200, 202), answer.text
        job = self._over(self._job)
        assert job["state"] == "cancelled" or (self.full and job["failure"]["code"] == "disk_full"), job


class Warm(JobScenario):
    """A job whose run is forked from the worker's warm parent."""

    start = "warm"

    def begin(self) -> None:
        """Submit it when there is one."""
        address = messages.address(self.yard.home / "run", "w")
        self.yard.until(address.exists, "the worker has a warm parent")
        super().begin()


class WarmCancel(Warm, Cancel):
    """One that is cancelled while it runs."""


class Unclaimed(JobScenario):
    """A job that is submitted while no worker runs, so that upkeep reminds those who do not listen."""

    def begin(self) -> None:
        """The worker comes back when the trouble is over."""
        self.yard.held.add("worker")
        self.yard.kill("worker")
        super().begin()

    def end(self) -> None:
        """As ever."""
        self.yard.held.discard("worker")
        super().end()


class Freezing(Scenario):
    """The supervisor stands still for longer than its lease, and then goes on."""

    def begin(self) -> None:
        """Freeze it when its run is there."""
        super().begin()
        self._supervisor = freeze(self.yard)

    def end(self) -> None:
        """The thawed one finds itself fenced, and changes nothing."""
        os.kill(self._supervisor, signal.SIGCONT)
        super().end()


class Frozen(Freezing, JobScenario):
    """That of a job."""

    every_ms = SLOW_MS


class Training(JobScenario):
    """A job of the real training program: whatever befalls it, all of them come to the same losses."""

    epochs = EPOCHS
    _first: dict[str, Any] = {}  # noqa: RUF012  (shared by all: every run must train the same network)

    def spec(self) -> dict[str, Any]:
        """Digits on two ranks, in few and large steps."""
        return super().spec() | {
            "labels": {"real": "yes"},
            "compression": [{"kind": "depthwise_separable"}, {"kind": "activation_compression", "ratio": 2}],
            "distributed": {"kind": "ddp", "processes": 2},
            "training": {"epochs": self.epochs, "batch_size": 256},
        }

    def _check_metrics(self, job_id: str) -> None:
        found = self._series(job_id)
        steps = self.yard.get(f"/v1/jobs/{job_id}")["progress"]["steps"]
        assert found["step"] == list(range(1, steps + 1))
        assert found["value"] == self._first.setdefault("losses", found["value"]), "it trained another network"

    def _series(self, job_id: str) -> dict[str, Any]:
        series: dict[str, Any] = self.yard.get(f"/v1/jobs/{job_id}/metrics?max_points=100000")["series"]["train/loss"]
        return series


class Exporting(Training):
    """One that leaves an ONNX file, which is made and run again after whatever befell it."""

    def spec(self) -> dict[str, Any]:
        """The network of all the others."""
        return super().spec() | {"export": ["onnx"]}

    def check(self, job: dict[str, Any]) -> None:
        """The file is there, and was run."""
        super().check(job)
        if job["state"] == "succeeded":
            assert [each["file"] for each in job["report"]["exports"]] == ["model.safetensors", "model.onnx"]


class FolderTraining(Training):
    """A job on a folder that nobody has decoded yet."""

    _first: dict[str, Any] = {}  # noqa: RUF012  (as above; the images are the same each time)

    def spec(self) -> dict[str, Any]:
        """Few small images, in a folder of their own."""
        folder = self.yard.folder / "sets" / f"images {self.key}"
        if not folder.exists():
            image_folder(folder, {"a": 40, "b": 40})
        augment = [{"kind": "random_crop", "size": [16, 16], "scale": [0.5, 1]}]
        training = {"epochs": self.epochs, "batch_size": 32}
        dataset = {"kind": "folder", "path": folder.name}
        return super().spec() | {"dataset": dataset, "augment": augment, "training": training}

    def end(self) -> None:
        """All are trained on the same pixels, of which one entry is kept and no rest."""
        super().end()
        kept = sorted(path.name.startswith(".") for path in (self.yard.home / "cache" / "sets").iterdir())
        assert kept == [False] or self.full, kept


class CancelledTraining(Training, Cancel):
    """A long one that is cancelled when it trains."""

    epochs = 1000

    def when(self, job_id: str, state: str) -> None:
        saved = f"/v1/jobs/{job_id}/checkpoints"
        self.yard.until(lambda: self.yard.get(saved)["items"], f"{job_id} has a checkpoint")


class Missed(JobScenario):
    """A job whose model misses a gate: it fails, and report and files are there, once."""

    outcome = "gate_missed"

    def spec(self) -> dict[str, Any]:
        """One parameter is too many."""
        return super().spec() | {"gates": {"max_parameters": 1}}

    def check(self, job: dict[str, Any]) -> None:
        """What is kept is kept under the failure, and can be fetched."""
        super().check(job)
        if job["failure"]["code"] != self.outcome:
            return
        assert [each["passed"] for each in job["report"]["gates"]] == [False]
        artifacts = self.yard.get(f"/v1/jobs/{job['id']}/artifacts")["items"]
        assert "report.json" in {each["name"] for each in artifacts}
        for each in artifacts:
            assert len(self.yard.told("GET", each["url"]).content) == each["size_bytes"]


class MissedTraining(Missed, Training):
    """The same of the real training program."""


class Import(Scenario):
    """The check of a folder, to its readiness."""

    seconds = 0.5

    def begin(self) -> None:
        """Register a new folder. There is no key: a client that got no answer looks whether it is there."""
        self._name = self.key
        folder = self.yard.folder / "sets" / self._name
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True)
            (folder / name / "1.png").touch()
        (folder / "seconds").write_text(str(self.seconds))
        self.yard.told("POST", "/v1/datasets", json={"name": self._name, "source": {"path": self._name}})

    def end(self) -> None:
        """It is ready."""
        found = self.yard.until(self._settled, "the data set is ready")
        assert found["state"] == "ready" or self.full, found

    def _settled(self) -> dict[str, Any] | None:
        answer = self.yard.call("GET", "/v1/datasets?limit=100")
        items = answer.json()["items"] if answer else []
        return next((item for item in items if item["name"] == self._name and item["state"] != "importing"), None)


class FrozenImport(Freezing, Import):
    """That of a data set's check."""

    seconds = 3.0


def freeze(yard: Yard) -> int:
    """SIGSTOP to the one supervisor, once its run is named; its process id."""
    folder = yard.home / "run" / "attempts"

    def named() -> int | None:
        found = [record.supervisor for record in records.all_of(folder, "w").values() if record.supervisor]
        started = any("stand_in.py" in line for line in yard.leftovers().values())
        return found[0].pid if found and started else None

    pid = int(yard.until(named, "a supervisor has started its run"))
    os.kill(pid, signal.SIGSTOP)
    return pid


SCENARIOS: dict[str, Callable[..., Scenario]] = {
    crossings.JOB: JobScenario,
    crossings.CANCEL: Cancel,
    crossings.WARM: Warm,
    crossings.WARM_CANCEL: WarmCancel,
    crossings.FROZEN: Frozen,
    crossings.UNCLAIMED: Unclaimed,
    crossings.IMPORT: Import,
    crossings.FROZEN_IMPORT: FrozenImport,
    crossings.TRAINING: Training,
    crossings.EXPORTING: Exporting,
    crossings.FOLDER_TRAINING: FolderTraining,
    crossings.CANCELLED_TRAINING: CancelledTraining,
    crossings.MISSED: Missed,
    crossings.MISSED_TRAINING: MissedTraining,
}
