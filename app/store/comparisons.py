"""Reports of several jobs at once."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, bindparam, literal_column, select
from sqlalchemy.orm import Session

from app.contract.states import JobState
from app.store.tables import jobs

_COLUMNS = [jobs.c[name] for name in ("id", "name", "state", "created_at", "dataset_sha256", "report")]
_OF_IDS = select(*_COLUMNS).where(jobs.c.id.in_(bindparam("ids", expanding=True)))

_SUCCEEDED = jobs.c.state == literal_column(f"'{JobState.SUCCEEDED}'")  # in words: the index is of these alone


def of_jobs(session: Session, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Those of these jobs that are there, by id."""
    return {row.id: row for row in session.execute(_OF_IDS, {"ids": list(ids)})}


def newest_on(session: Session, dataset_sha256: str, limit: int) -> Sequence[Row[Any]]:
    """The newest jobs that succeeded on this data. One walk over an index of theirs."""
    query = select(*_COLUMNS).where(jobs.c.dataset_sha256 == dataset_sha256, _SUCCEEDED)
    return session.execute(query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)).all()
