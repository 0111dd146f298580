"""Rows of the jobs table as users see them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.events import Progress
from app.contract.failures import Failure
from app.contract.job import JobSpec
from app.contract.report import Report
from app.contract.states import JobState, StopWish
from app.contract.views import Job, Pending
from app.errors import NotFound
from app.services import pending
from app.store import jobs
from app.store.types import moment, moment_or_none

CLASSES_IN_JOBS = 100


def existing(row: Row[Any] | None, what: str = "job") -> Row[Any]:
    """The row, or `NotFound`."""
    if row is None:
        raise no_such(what)
    return row


def no_such(what: str = "job") -> NotFound:
    """The refusal of an id that leads nowhere."""
    return NotFound(f"There is no such {what}. It may have been deleted.")


def require(session: Session, job_id: str) -> None:
    """Raise `NotFound` when there is no such job. Reads no more than its key."""
    if jobs.version(session, job_id) is None:
        raise no_such()


def view(session: Session, row: Row[Any]) -> Job:
    """One job. Only a queued one costs more statements: why it waits depends on workers and other jobs."""
    return views(session, [row])[0]


def views(session: Session, rows: Sequence[Row[Any]]) -> list[Job]:
    """Many jobs."""
    waiting = reasons(session, rows)
    return [view_with(row, waiting.get(row.id)) for row in rows]


def reasons(session: Session, rows: Sequence[Row[Any]]) -> dict[str, Pending]:
    """Why those of these jobs wait that are queued."""
    return pending.reasons(session, [row for row in rows if row.state == JobState.QUEUED])


def get(session: Session, job_id: str) -> Job:
    """One job. Raises `NotFound`."""
    return view(session, existing(jobs.find(session, job_id)))


@lru_cache(maxsize=4096)
def spec_of(text: str) -> JobSpec:
    """A stored spec. Specs are frozen, so one object serves all readers of the same text."""
    return JobSpec.model_validate_json(text)


def view_with(row: Row[Any], waits: Pending | None) -> Job:
    """One job, and why it waits, which the caller knows."""
    # not validated again: the parts are what they were when they were stored, and a page of 50 would take 1 ms longer
    return Job.model_construct(
        id=row.id,
        name=row.name,
        labels=row.labels,
        priority=-row.rank,
        version=row.version,
        state=JobState(row.state),
        stop_requested=row.stop_requested and StopWish(row.stop_requested),
        phase=row.phase,
        spec=spec_of(row.spec),
        created_at=moment(row.created_at),
        started_at=moment_or_none(row.started_at),
        finished_at=moment_or_none(row.finished_at),
        attempt=row.attempt,
        cloned_from=row.cloned_from,
        pending=waits,
        progress=row.progress and Progress.model_validate(row.progress),
        latest_metrics=row.latest_metrics,
        failure=row.failure and Failure.model_validate(row.failure),
        report=row.report and Report.model_validate(_brief(row.report)),
        dataset_sha256=row.dataset_sha256,
    )


def _brief(report: dict[str, Any]) -> dict[str, Any]:
    """A job is read often and listed by the dozen: a thousand classes would be 60 kB of each."""
    return report if len(report.get("classes", ())) <= CLASSES_IN_JOBS else {**report, "classes": []}
