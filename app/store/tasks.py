"""Background tasks: plans, imports, previews. A row is claimed, held by heartbeats, finished by its worker."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update
from sqlalchemy.orm import Session

from app.contract.work import WorkerInfo
from app.store.queue import met
from app.store.session import touched
from app.store.tables import tasks
from app.store.types import now
from app.store.upserts import insert_if_absent


def create(session: Session, task_id: str, kind: str, order: dict[str, Any], dataset_id: str | None = None) -> None:
    """Store a queued task."""
    values = {"id": task_id, "kind": kind, "input": order, "dataset_id": dataset_id}
    session.execute(insert(tasks).values(**values, state="queued", tries=0, created_at=now()))


def create_once(
    session: Session, task_id: str, kind: str, order: dict[str, Any], needs_extra: str | None = None
) -> bool:
    """The same for an id that says what is asked for: False, and nothing stored, when that is there already."""
    statement = insert_if_absent(session, tasks, ["id"])
    values = {"id": task_id, "kind": kind, "input": order, "needs_extra": needs_extra}
    statement = statement.values(**values, state="queued", tries=0, created_at=now())
    return session.execute(statement.returning(tasks.c.id)).one_or_none() is not None


def forget(session: Session, task_id: str, state: str, after_s: float) -> None:
    """Remove a task that has been in this final state for so long."""
    old = (tasks.c.id == task_id, tasks.c.state == state, tasks.c.finished_at <= now() - after_s)
    session.execute(delete(tasks).where(*old))


def find(session: Session, task_id: str) -> Row[Any] | None:
    """One task, as it is now."""
    return session.execute(select(tasks).where(tasks.c.id == task_id)).one_or_none()


def claim(
    session: Session, info: WorkerInfo, token_hash: str, lease_s: float, passed_over: str | None = None
) -> Row[Any] | None:
    """Give the oldest queued task that the worker has the libraries for, and not of the kind that is passed over, to
    the worker; None when there is none.
    """
    ready = (tasks.c.state == "queued", met(tasks.c.needs_extra, info.extras))
    query = select(tasks.c.id).where(*ready).order_by(tasks.c.created_at, tasks.c.id)
    if passed_over:
        query = query.where(tasks.c.kind != passed_over)
    found = session.execute(query.limit(1).with_for_update(skip_locked=True)).scalar_one_or_none()
    if found is None:
        return None
    values = {"state": "running", "worker_id": info.id, "token_hash": token_hash, "tries": tasks.c.tries + 1}
    statement = update(tasks).where(tasks.c.id == found, tasks.c.state == "queued")
    statement = statement.values(**values, lease_until=now() + lease_s)
    return session.execute(statement.returning(tasks)).one_or_none()


def waiting(session: Session, kind: str) -> int:
    """How many tasks of a kind nobody has begun."""
    queued = (tasks.c.state == "queued", tasks.c.kind == kind)
    return session.execute(select(func.count()).select_from(tasks).where(*queued)).scalar_one()


def ids_among(session: Session, task_ids: Sequence[str]) -> set[str]:
    """Those of the ids that there are tasks with."""
    return set(session.execute(select(tasks.c.id).where(tasks.c.id.in_(task_ids))).scalars())


def running_on(session: Session, worker_id: str) -> Counter[str]:
    """How many tasks of each kind a worker has in hand."""
    mine = (tasks.c.worker_id == worker_id, tasks.c.state == "running")
    return Counter(session.execute(select(tasks.c.kind).where(*mine)).scalars())


def held(task_id: str, token_hash: str) -> ColumnElement[bool]:
    """The guard of a task's worker."""
    return (tasks.c.id == task_id) & (tasks.c.token_hash == token_hash) & (tasks.c.state == "running")


def change(session: Session, *conditions: ColumnElement[bool], **values: Any) -> Row[Any] | None:
    """Write `values` if the conditions hold; None, and nothing written, if they do not."""
    row = session.execute(update(tasks).where(*conditions).values(**values).returning(tasks)).one_or_none()
    if row is not None:
        touched(session, row.id)
    return row


def expired(session: Session, limit: int) -> Sequence[Row[Any]]:
    """Running tasks whose lease ended."""
    ended = (tasks.c.state == "running", tasks.c.lease_until < now())
    return session.execute(select(tasks).where(*ended).limit(limit)).all()


def purge(session: Session, after_s: float) -> None:
    """Remove tasks that have been over, or queued without a taker, for so long (imports wait for ever)."""
    over = (tasks.c.state.in_(("done", "failed")), tasks.c.created_at < now() - after_s)
    session.execute(delete(tasks).where(*over, tasks.c.finished_at < now() - after_s))
    session.execute(
        delete(tasks).where(tasks.c.state == "queued", tasks.c.created_at < now() - after_s, tasks.c.kind != "import")
    )
