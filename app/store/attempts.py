"""Attempts and the devices that they hold. A job has at most one open attempt; a device is reserved at most once."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Boolean, Row, bindparam, delete, insert, or_, select, update
from sqlalchemy.orm import Session

from app.store.leases import Lease
from app.store.tables import attempts, reservations
from app.store.types import now

Ending = Literal["succeeded", "failed", "released", "lost"]


def begin(session: Session, lease: Lease, worker_id: str, devices: Sequence[int]) -> None:
    """Open an attempt and reserve its devices."""
    session.execute(
        insert(attempts).values(
            job_id=lease.job_id,
            attempt=lease.attempt,
            worker_id=worker_id,
            devices=list(devices),
            state="open",
            token_hash=lease.token_hash,
            started_at=now(),
            reported_seq=0,
            saved_checkpoint=False,
        )
    )
    rows = [{"device_index": index} for index in devices]
    holder = {"worker_id": worker_id, "job_id": lease.job_id, "attempt": lease.attempt}
    session.execute(insert(reservations).values(**holder), rows)


def close(session: Session, job_id: str, attempt: int, state: Ending, failure: dict[str, Any] | None) -> None:
    """End the open attempt and free its devices."""
    mine = (attempts.c.job_id == job_id, attempts.c.attempt == attempt, attempts.c.state == "open")
    session.execute(update(attempts).where(*mine).values(state=state, finished_at=now(), failure=failure))
    session.execute(delete(reservations).where(reservations.c.job_id == job_id, reservations.c.attempt == attempt))


def find(session: Session, job_id: str, attempt: int) -> Row[Any] | None:
    """One attempt, with the seconds it has taken as `taken_s`."""
    return session.execute(_FIND, {"of_job": job_id, "of_attempt": attempt}).one_or_none()


def note_reported(session: Session, lease: Lease, seq: int, *, saved_checkpoint: bool) -> None:
    """Everything up to `seq` of this attempt's report is stored."""
    told = {"of_job": lease.job_id, "of_attempt": lease.attempt, "seq": seq, "saved": saved_checkpoint}
    session.execute(_NOTE_REPORTED, told)


def of_job(session: Session, job_id: str) -> Sequence[Row[Any]]:
    """All attempts of a job, oldest first."""
    return session.execute(select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.attempt)).all()


def reserved_devices(session: Session, worker_id: str) -> set[int]:
    """The devices of a worker that open attempts hold."""
    query = select(reservations.c.device_index).where(reservations.c.worker_id == worker_id)
    return set(session.execute(query).scalars())


def reservations_of_all(session: Session) -> dict[tuple[str, int], str]:
    """Which job holds which (worker, device)."""
    return {(row.worker_id, row.device_index): row.job_id for row in session.execute(_RESERVATIONS)}


# Made once: a run's reports come many times a second.
_MINE = (attempts.c.job_id == bindparam("of_job"), attempts.c.attempt == bindparam("of_attempt"))
_FIND = select(attempts, (now() - attempts.c.started_at).label("taken_s")).where(*_MINE)
_NOTE_REPORTED = (
    update(attempts)
    .where(*_MINE)
    .values(
        reported_seq=bindparam("seq"),
        saved_checkpoint=or_(attempts.c.saved_checkpoint, bindparam("saved", type_=Boolean)),
    )
)
_RESERVATIONS = select(reservations)
