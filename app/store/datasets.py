"""Registered data sets."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, exists, insert, select, tuple_, update
from sqlalchemy.orm import Session

from app.contract.states import FINAL
from app.store.tables import datasets, jobs
from app.store.types import now


def create(session: Session, **values: Any) -> Row[Any]:
    """Store a data set that is being imported."""
    statement = insert(datasets).values(**values, state="importing", created_at=now())
    return session.execute(statement.returning(datasets)).one()


def find(session: Session, dataset_id: str) -> Row[Any] | None:
    """One data set, as it is now."""
    return session.execute(select(datasets).where(datasets.c.id == dataset_id)).one_or_none()


def keep(session: Session, dataset_id: str) -> Row[Any] | None:
    """One data set that cannot be deleted until the transaction ends."""
    query = select(datasets).where(datasets.c.id == dataset_id)
    return session.execute(query.with_for_update(read=True)).one_or_none()


def lock(session: Session, dataset_id: str) -> Row[Any] | None:
    """One data set, locked until the transaction ends."""
    return session.execute(select(datasets).where(datasets.c.id == dataset_id).with_for_update()).one_or_none()


def page(session: Session, before: tuple[float, str] | None, limit: int) -> Sequence[Row[Any]]:
    """Newest first, behind the place `before`."""
    query = select(datasets).order_by(datasets.c.created_at.desc(), datasets.c.id.desc()).limit(limit)
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
