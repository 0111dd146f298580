"""Ends what nobody holds any more: attempts and tasks whose lease ran out."""

from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.failures import Failure, FailureCode, failure
from app.contract.faults import Point, reach
from app.contract.states import JobState
from app.services import tasks as task_rules
from app.services.outcomes import end_attempt
from app.store import attempts, jobs, tasks
from app.store.leases import Lease, held_by
from app.store.session import Database
from app.store.tables import jobs as table
from app.store.types import now

PORTION = 100


def reap(database: Database) -> int:
    """End expired leases, each in a transaction of its own. Answers how many jobs were moved on."""
    with database.read() as session:
        lost_jobs = jobs.expired(session, PORTION)
        lost_tasks = tasks.expired(session, PORTION)
    ended = 0
    for row in lost_jobs:
        reach(Point.REAP_BEFORE_UPDATE)
        with database.write() as session:
            ended += end_expired(session, row)
            reach(Point.REAP_BEFORE_COMMIT)
    for row in lost_tasks:
        reach(Point.REAP_TASK_BEFORE_UPDATE)
        with database.write() as session:
            task_rules.give_up_lost(session, row)
    return ended


def end_expired(session: Session, read: Row[Any]) -> bool:
    """End one attempt, if its token and expiry are still those that were read and its time is over."""
    unchanged = (
        held_by(Lease(read.id, read.attempt, read.token_hash)),
        table.c.lease_until == read.lease_until,
        table.c.lease_until < now(),
    )
    row = jobs.lock(session, *unchanged)
    attempt = attempts.find(session, read.id, read.attempt) if row else None
    if row is None or attempt is None:
        return False
    return end_attempt(session, row, attempt, "lost", _reason(row), *unchanged) is not None


def _reason(row: Row[Any]) -> Failure:
    if row.state == JobState.RUNNING and row.lease_until >= row.deadline_at:
        message = "The run did not end by itself when its time (limits.max_duration_s) was over."
        return failure(FailureCode.TIMEOUT, message, attempt=row.attempt)
    message = f"Worker {row.worker_id} was not heard of until its lease ended."
    return failure(FailureCode.LOST_WORKER, message, attempt=row.attempt)
