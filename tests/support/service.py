"""The services as a test speaks to them: each call is one transaction, as one request is."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from app.contract.events import EVENT
from app.contract.failures import FailureCode, failure
from app.contract.job import JobSpec
from app.contract.report import Report
from app.contract.views import Job
from app.contract.work import Device, Finish, JobWork, ReportReply, TaskResult, TaskWork, WorkerInfo
from app.services import attempts, claiming, history, jobs, reaping, reports, tasks
from app.services.context import Context
from app.store.leases import Lease
from app.store.session import Database
from app.store.tables import reservations

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "resnet10t"},
}
SHA256 = "a" * 64

_MEASURED = {"parameters": 1, "macs": 1, "file_bytes": 1, "latency": []}
REPORT = Report.model_validate(
    {
        "before": _MEASURED,
        "after": _MEASURED,
        "ratios": {"parameters": 1, "macs": 1, "file_bytes": 1, "latency_p50": 1},
        "machine": {"host": "h", "device": "cpu", "processor": "p", "threads": 1, "torch": "2"},
        "verified": True,
    }
)

FACTS: dict[str, Any] = {
    "sha256": SHA256,
    "classes": {"cats": 1, "dogs": 1},
    "class_count": 2,
    "images": 2,
    "validation_images": 0,
    "size_bytes": 2,
    "image_sizes": {"min_height": 1, "max_height": 1, "min_width": 1, "max_width": 1},
    "refused": [],
    "refused_count": 0,
}
"""What an import of two images found."""


def worker(name: str = "w1", slots: int = 4, kind: str = "cpu", task_slots: int = 0) -> WorkerInfo:
    """A worker's description of itself."""
    devices = [Device(index=n, kind=kind, name=kind, memory_bytes=10**9) for n in range(slots)]
    return WorkerInfo(id=name, host=name, devices=devices, task_slots=task_slots)


def spec(**more: Any) -> JobSpec:
    """The smallest spec, with changes."""
    return JobSpec.model_validate(SPEC | more)


def processes(count: int) -> dict[str, Any]:
    """The part of a spec that asks for so many devices."""
    return {"distributed": {"kind": "ddp", "processes": count}, "training": {"batch_size": 60}}


@dataclass
class Service:
    """Speaks to the services over one database."""

    database: Database

    @property
    def context(self) -> Context:
        return Context(self.database.settings)

    def submit(self, key: str | None = None, body: str = "body", **more: Any) -> Job:
        with self.database.write() as session:
            return jobs.submit(session, self.context, spec(**more), key, body)[0]

    def job(self, job_id: str) -> Job:
        with self.database.read() as session:
            return jobs.get(session, job_id)

    def claim(self, info: WorkerInfo | None = None) -> Any:
        with self.database.write() as session:
            return claiming.claim(session, info or worker())

    def start(self, work: JobWork) -> None:
        with self.database.write() as session:
            attempts.start(session, lease_of(work))

    def running(self, info: WorkerInfo | None = None, **more: Any) -> tuple[str, JobWork]:
        """A job that a worker holds and has started: its id and its work."""
        job = self.submit(**more)
        work = self.claim(info)
        assert work.job == job.id
        self.start(work)
        return job.id, work

    def heartbeat(self, work: JobWork) -> Any:
        with self.database.write() as session:
            return attempts.heartbeat(session, lease_of(work))

    def report(self, work: JobWork, *events: dict[str, Any], first: int = 1) -> ReportReply:
        told = [
            EVENT.validate_python({"seq": seq, "time": datetime(2026, 11, 21, tzinfo=UTC), **event})
            for seq, event in enumerate(events, first)
        ]
        with self.database.write() as session:
            return reports.report(session, lease_of(work), told)

    def save(self, work: JobWork, step: int = 1, seq: int = 1) -> None:
        """Report a checkpoint."""
        self.report(work, checkpoint(step), first=seq)

    def finish(self, work: JobWork, outcome: str = "succeeded", code: str | None = None, **more: Any) -> str:
        body: dict[str, Any] = {"token": work.token, "outcome": outcome, **more}
        if outcome == "succeeded":
            body.setdefault("report", REPORT)
        if code:
            body["failure"] = failure(FailureCode(code), f"It was {code}.")
        with self.database.write() as session:
            return attempts.finish(session, lease_of(work), Finish.model_validate(body)).value

    def finish_task(self, work: TaskWork, **body: Any) -> None:
        with self.database.write() as session:
            tasks.finish(session, work.task, TaskResult(token=work.token, **body))

    def cancel(self, job_id: str) -> tuple[Job, bool]:
        with self.database.write() as session:
            return jobs.cancel(session, job_id)

    def pause(self, job_id: str) -> tuple[Job, bool]:
        with self.database.write() as session:
            return jobs.pause(session, job_id)

    def resume(self, job_id: str) -> tuple[Job, bool]:
        with self.database.write() as session:
            return jobs.resume(session, job_id)

    def retry(self, job_id: str) -> Job:
        with self.database.write() as session:
            return jobs.retry(session, job_id)

    def clone(self, job_id: str, patch: dict[str, Any]) -> Job:
        with self.database.write() as session:
            return jobs.clone(session, job_id, patch)

    def patch(self, job_id: str, patch: dict[str, Any], if_match: int | None = None) -> Job:
        with self.database.write() as session:
            return jobs.patch(session, job_id, patch, if_match)

    def delete(self, job_id: str) -> None:
        with self.database.write() as session:
            jobs.delete(session, job_id)

    def reap(self) -> int:
        return reaping.reap(self.database)

    def events(self, job_id: str) -> list[tuple[str, dict[str, Any]]]:
        with self.database.read() as session:
            return [(event.type, event.data) for event in history.events(session, job_id, None, 1000).items]

    def attempts(self, job_id: str) -> list[str]:
        """The states of all attempts."""
        with self.database.read() as session:
            return [attempt.state for attempt in history.attempts(session, job_id)]

    def reserved(self) -> set[tuple[str, int]]:
        with self.database.read() as session:
            rows = session.execute(select(reservations.c.worker_id, reservations.c.device_index))
            return {(row.worker_id, row.device_index) for row in rows}


def lease_of(work: JobWork) -> Lease:
    """What the work's token proves."""
    return Lease.of(work.job, work.attempt, work.token)


def checkpoint(step: int = 1) -> dict[str, Any]:
    """A report of a checkpoint."""
    path = f"checkpoints/training-{step:08d}"
    return {
        "type": "checkpoint",
        "phase": "training",
        "epoch": 1,
        "step": step,
        "path": path,
        "size_bytes": 9,
        "sha256": SHA256,
    }


def metrics(step: int, value: float, name: str = "train/loss") -> dict[str, Any]:
    """A report of one value."""
    return {"type": "metrics", "step": step, "values": {name: value}}
