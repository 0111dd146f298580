"""Registered data sets."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, exists, insert, select, tuple_, update
from sqlalchemy.orm import Session

from app.contract.states import FINAL
from app.store.dataset_tables import dataset_names, datasets
from app.store.tables import jobs, tasks
from app.store.types import now
from app.store.upserts import insert_into


def create(session: Session, name: str, **values: Any) -> Row[Any]:
    """Store a data set that is being imported, as the next revision of its name."""
    numbered = insert_into(session, dataset_names).values(name=name, last_revision=1)
    following = dataset_names.c.last_revision + 1
    numbered = numbered.on_conflict_do_update(index_elements=["name"], set_={"last_revision": following})
    revision = session.execute(numbered.returning(dataset_names.c.last_revision)).scalar_one()
    statement = insert(datasets).values(**values, name=name, revision=revision, state="importing", created_at=now())
    return session.execute(statement.returning(datasets)).one()


def find(session: Session, dataset_id: str) -> Row[Any] | None:
    """One data set, as it is now."""
    return session.execute(select(datasets).where(datasets.c.id == dataset_id)).one_or_none()


def progress(session: Session, dataset_ids: Sequence[str]) -> dict[str, Any]:
    """How far those are whose import runs and has told something."""
    running = (tasks.c.dataset_id.in_(dataset_ids), tasks.c.state == "running", tasks.c.progress.is_not(None))
    rows = session.execute(select(tasks.c.dataset_id, tasks.c.progress).where(*running)) if dataset_ids else ()
    return {row.dataset_id: row.progress for row in rows}


def keep(session: Session, dataset_id: str) -> Row[Any] | None:
    """One data set that cannot be deleted until the transaction ends."""
    query = select(datasets).where(datasets.c.id == dataset_id)
    return session.execute(query.with_for_update(read=True)).one_or_none()


def lock(session: Session, dataset_id: str) -> Row[Any] | None:
    """One data set, locked until the transaction ends."""
    return session.execute(select(datasets).where(datasets.c.id == dataset_id).with_for_update()).one_or_none()


def page(session: Session, before: tuple[float, str] | None, limit: int, name: str | None) -> Sequence[Row[Any]]:
    """Newest first, behind the place `before`; of all, or of one name."""
    query = select(datasets).order_by(datasets.c.created_at.desc(), datasets.c.id.desc()).limit(limit)
    if name is not None:
        query = query.where(datasets.c.name == name)
    place: ColumnElement[Any] = tuple_(datasets.c.created_at, datasets.c.id)
    return session.execute(query.where(place < tuple_(*before)) if before else query).all()


def is_used(session: Session, dataset_id: str) -> bool:
    """Whether a job that is not over trains on it."""
    uses = (jobs.c.dataset_id == dataset_id, jobs.c.state.not_in(FINAL))
    return bool(session.execute(select(exists().where(*uses))).scalar())


def settle(session: Session, dataset_id: str, **values: Any) -> None:
    """End the import: `ready` with facts, or `failed` with a failure."""
    importing = (datasets.c.id == dataset_id, datasets.c.state == "importing")
    session.execute(update(datasets).where(*importing).values(**values))


def waiting_since(session: Session, before: float) -> Sequence[Row[Any]]:
    """Those that are being imported and were made more than so many seconds ago."""
    old = (datasets.c.state == "importing", datasets.c.created_at < now() - before)
    return session.execute(select(datasets).where(*old)).all()


def name_source(session: Session, dataset_id: str, source: dict[str, Any]) -> Row[Any]:
    """Say more of where the files are from."""
    statement = update(datasets).where(datasets.c.id == dataset_id).values(source=source)
    return session.execute(statement.returning(datasets)).one()


def remove(session: Session, dataset_id: str) -> None:
    """Delete the row; the files are not touched."""
    session.execute(delete(datasets).where(datasets.c.id == dataset_id))
