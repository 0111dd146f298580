"""What happened to jobs, in order: per job by `seq`, over all jobs by a position that can no longer be overtaken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select, tuple_
from sqlalchemy.orm import Session

from app.store.tables import events
from app.store.types import now, oldest_running_transaction, transaction_number

Position = tuple[int, int]
"""Of an event among those of all jobs: (writing transaction, number)."""


@dataclass(frozen=True)
class News:
    """An event before it has its `seq`. `time_s` is when it was reported to have happened; None: now."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    time_s: float | None = None


def append(session: Session, job_id: str, last_seq: int, news: Sequence[News]) -> None:
    """Write events behind `last_seq`. The caller holds the job's row lock and has moved `jobs.event_seq` already."""
    rows = [
        {"job_id": job_id, "seq": seq, "type": each.type, "data": each.data, "when": each.time_s}
        for seq, each in enumerate(news, last_seq + 1)
    ]
    if rows:
        session.execute(_APPEND, rows)


def of_job(session: Session, job_id: str, after: int, limit: int) -> Sequence[Row[Any]]:
    """Events of one job with `seq` above `after`, in order."""
    query = select(events).where(events.c.job_id == job_id, events.c.seq > after)
    return session.execute(query.order_by(events.c.seq).limit(limit)).all()


def newest(session: Session, job_id: str, kind: str) -> Row[Any] | None:
    """The last event of a type that a job had."""
    query = select(events).where(events.c.job_id == job_id, events.c.type == kind)
    return session.execute(query.order_by(events.c.seq.desc()).limit(1)).one_or_none()


def of_all(session: Session, after: Position, limit: int) -> Sequence[Row[Any]]:
    """Events of all jobs behind `after`, in an order in which nothing appears later in front.

    Rows of a transaction that still runs would; so only those below the oldest running one are read.
    """
    place = tuple_(events.c.xact, events.c.position)
    query = select(events).where(events.c.xact < oldest_running_transaction(), place > tuple_(*after))
    return session.execute(query.order_by(events.c.xact, events.c.position).limit(limit)).all()


_APPEND = insert(events).values(
    time=func.coalesce(bindparam("when", type_=events.c.time.type), now()), xact=transaction_number()
)
