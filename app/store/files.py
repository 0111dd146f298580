"""Checkpoints and artifacts: readers trust these rows, never a folder's listing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.orm import Session

from app.store.leases import Lease
from app.store.tables import artifacts, checkpoints


def add_checkpoints(session: Session, lease: Lease, rows: list[dict[str, Any]]) -> None:
    """Checkpoints of this attempt, in the order they were saved."""
    if rows:
        session.execute(insert(checkpoints).values(job_id=lease.job_id, attempt=lease.attempt), rows)


def checkpoints_of(session: Session, job_id: str) -> Sequence[Row[Any]]:
    """All checkpoints of a job, oldest first."""
    return session.execute(select(checkpoints).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.id)).all()


def newest_checkpoint(session: Session, job_id: str) -> Row[Any] | None:
    """The checkpoint, of any attempt, that was saved last."""
    return next(iter(newest_checkpoints(session, job_id, 1)), None)


def newest_checkpoints(session: Session, job_id: str, limit: int) -> Sequence[Row[Any]]:
    """The checkpoints, of any attempt, that were saved last: newest first."""
    query = select(checkpoints).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.id.desc())
    return session.execute(query.limit(limit)).all()


def add_artifacts(session: Session, job_id: str, attempt: int, rows: list[dict[str, Any]]) -> None:
    """What the last attempt leaves to its user."""
    if rows:
        session.execute(insert(artifacts).values(job_id=job_id, attempt=attempt), rows)


def artifacts_of(session: Session, job_id: str) -> Sequence[Row[Any]]:
    """All artifacts of a job, by name."""
    return session.execute(select(artifacts).where(artifacts.c.job_id == job_id).order_by(artifacts.c.name)).all()


def artifact(session: Session, job_id: str, name: str) -> Row[Any] | None:
    """One artifact."""
    query = select(artifacts).where(artifacts.c.job_id == job_id, artifacts.c.name == name)
    return session.execute(query).one_or_none()
