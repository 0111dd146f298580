"""What users wish of a job's course: cancel it, pause it, let it go on.

A job that no worker holds changes its state at once. Of one that a worker holds only the wish is recorded; it comes
true when the attempt ends, or its lease (`outcomes.decide`). Cancel wins over pause, and an end that comes first over
both.
"""

from typing import Any

from sqlalchemy import ColumnElement, Row
from sqlalchemy.orm import Session

from app.contract.states import ACTIVE, FINAL, JobState, StopWish
from app.contract.views import Job
from app.errors import Conflict
from app.services.job_view import existing, view
from app.store import jobs
from app.store.events import News
from app.store.session import work_waits
from app.store.tables import jobs as table
from app.store.types import now

WAITING = (JobState.QUEUED, JobState.PAUSED)
"""No worker holds it: what is wished happens at once."""


def cancel(session: Session, job_id: str) -> tuple[Job, bool]:
    """Wish that the job stops. True: it is cancelled. False: its worker is being told, and then it will be.

    Raises `Conflict` when it succeeded or failed.
    """
    row = _locked(session, job_id)
    if row.state in WAITING:
        row = _entered(session, row, JobState.CANCELLED, finished_at=now())
    elif row.state in ACTIVE and row.stop_requested != StopWish.CANCEL:
        row = _wished(session, row, StopWish.CANCEL)
    if row.state in FINAL - {JobState.CANCELLED}:
        raise Conflict(f"The job has {row.state}: there is nothing to cancel.", state=row.state)
    return view(session, row), row.state == JobState.CANCELLED


def pause(session: Session, job_id: str) -> tuple[Job, bool]:
    """Wish that the job is held back. True: it is paused. False: its worker saves a checkpoint first, then it will be.

    Raises `Conflict` when it is over, or about to be cancelled.
    """
    row = _locked(session, job_id)
    _refuse_to_change_its_end(row, "pause")
    if row.state == JobState.QUEUED:
        row = _entered(session, row, JobState.PAUSED)
    elif row.state in ACTIVE and row.stop_requested is None:
        row = _wished(session, row, StopWish.PAUSE)
    return view(session, row), row.state == JobState.PAUSED


def resume(session: Session, job_id: str) -> tuple[Job, bool]:
    """Let a paused job go on, at its old place in the queue. True: it is queued, or went on before.

    False: a pause that was not fulfilled yet is taken back. A worker that has heard of it hands the job back all the
    same, and it goes on from the checkpoint that was saved. Raises `Conflict` when it is over, or about to be.
    """
    row = _locked(session, job_id)
    _refuse_to_change_its_end(row, "resume")
    was_wished = row.stop_requested is not None
    if row.state == JobState.PAUSED:
        row = _entered(session, row, JobState.QUEUED, available_at=now())
        work_waits(session)
    elif was_wished:
        row = _wished(session, row, None)
    return view(session, row), not was_wished


def _locked(session: Session, job_id: str) -> Row[Any]:
    return existing(jobs.lock(session, table.c.id == job_id))


def _refuse_to_change_its_end(row: Row[Any], verb: str) -> None:
    if row.state in FINAL:
        raise Conflict(f"The job is {row.state}: there is nothing to {verb}.", state=row.state)
    if row.stop_requested == StopWish.CANCEL:
        raise Conflict("The job is being cancelled, and a cancel is not taken back.", state=row.state)


def _entered(session: Session, row: Row[Any], state: JobState, **values: Any) -> Row[Any]:
    return existing(jobs.enter(session, row.id, state, _still(row), **values))


def _wished(session: Session, row: Row[Any], wish: StopWish | None) -> Row[Any]:
    told = News("stop_requested", {"stop": wish})
    return existing(jobs.change(session, row.id, _still(row), news=[told], stop_requested=wish))


def _still(row: Row[Any]) -> ColumnElement[bool]:
    """The state that was read under the lock."""
    unchanged: ColumnElement[bool] = table.c.state == row.state
    return unchanged
