"""What a worker says of an attempt that it holds: I start, I am alive, it is over. Guard G stands before each write."""

from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Row, func
from sqlalchemy.orm import Session

from app.contract.failures import Failure, failure
from app.contract.states import JobState, StopWish
from app.contract.work import Finish
from app.errors import Fenced, InvalidSpec
from app.services.job_view import spec_of
from app.services.outcomes import Left, end_attempt
from app.store import attempts, jobs, workers
from app.store.leases import Lease, held_by
from app.store.session import settings_of
from app.store.tables import jobs as table
from app.store.types import now

OVERTIME_S = 600.0
"""The launcher ends a run that takes too long and then still saves and says so; beyond this, upkeep ends it."""

CLOSED_BY_ITS_WORKER = ("succeeded", "failed", "released")


def held(session: Session, lease: Lease) -> Row[Any]:
    """The job of this lease, locked. Raises `Fenced`."""
    row = jobs.lock_held(session, lease)
    if row is None:
        raise Fenced
    return row


def start(session: Session, lease: Lease) -> None:
    """The run begins: starting -> running, with a whole lease. Said twice, it changes nothing else."""
    row = held(session, lease)
    if row.state == JobState.STARTING:
        _run(session, row, lease)
    # A first word that comes late, from a busy host, must not be followed by the end of the claim's lease.
    jobs.extend_lease(session, lease, settings_of(session).lease_s)


def heartbeat(session: Session, lease: Lease) -> StopWish | None:
    """The lease begins anew. Answers what the user wishes. Raises `Fenced`."""
    row = jobs.extend_lease(session, lease, settings_of(session).lease_s)
    if row is None:
        raise Fenced
    workers.seen(session, row.worker_id)
    return row.stop_requested and StopWish(row.stop_requested)


def wish(session: Session, lease: Lease) -> StopWish | None:
    """What the user wishes, only read. Raises `Fenced`."""
    row = jobs.find(session, lease.job_id)
    if row is None or (row.attempt, row.token_hash) != (lease.attempt, lease.token_hash):
        raise Fenced
    return row.stop_requested and StopWish(row.stop_requested)


def finish(session: Session, lease: Lease, end: Finish) -> JobState:
    """The attempt is over and nothing of it runs. Said again by the same worker, it answers what became of the job.

    Raises `Fenced` when the attempt was taken away before; then nothing is written.
    """
    row = jobs.lock(session, table.c.id == lease.job_id)
    attempt = attempts.find(session, lease.job_id, lease.attempt)
    if row is None or attempt is None or attempt.token_hash != lease.token_hash or attempt.state == "lost":
        raise Fenced
    if attempt.state in CLOSED_BY_ITS_WORKER:
        return JobState(row.state)
    reason = _checked(end, lease.attempt)
    if end.outcome == "succeeded" and row.state == JobState.STARTING:  # its `start` was lost on the way, or overtaken
        row = _run(session, row, lease)
    left = Left(end.report, end.artifacts)
    changed = end_attempt(session, row, attempt, end.outcome, reason, held_by(lease), left=left)
    if changed is None:
        raise Fenced
    return JobState(changed.state)


def _run(session: Session, row: Row[Any], lease: Lease) -> Row[Any]:
    left_s = max(spec_of(row.spec).limits.max_duration_s - row.spent_s, 0.0)
    changed = jobs.enter(
        session,
        row.id,
        JobState.RUNNING,
        held_by(lease),
        about={"attempt": row.attempt},
        deadline_at=now() + left_s + OVERTIME_S,
        started_at=func.coalesce(table.c.started_at, now()),
    )
    if changed is None:
        raise Fenced
    return changed


def _checked(end: Finish, attempt: int) -> Failure | None:
    for each in end.artifacts:
        inside(each.path, "/artifacts")
    if end.outcome == "failed":
        if end.failure is None:
            raise InvalidSpec.at("/failure", "missing", "An attempt that failed says why.")
        told = end.failure
        return failure(told.code, told.message, attempt=attempt, errors=told.errors)
    if end.outcome == "succeeded" and end.report is None:
        raise InvalidSpec.at("/report", "missing", "An attempt that succeeded brings its report.")
    return None


def inside(path: str, pointer: str) -> str:
    """A path that stays in the attempt's folder, or `InvalidSpec`."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\x00" in path or not parts.parts:
        raise InvalidSpec.at(pointer, "bad_path", f"'{path}' does not lie in the attempt's folder.")
    return path
