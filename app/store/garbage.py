"""The metrics of deleted jobs, removed in portions: one DELETE of a million points holds the writer for seconds."""

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from app.store.metric_tables import metric_buckets, metric_points, metric_series, metric_sets

PORTION = 5000


def remove_points(session: Session) -> bool:
    """Remove one portion. True when there was something to remove, so there may be more."""
    orphan = session.execute(select(metric_sets.c.id).where(metric_sets.c.job_id.is_(None)).limit(1)).scalar()
    if orphan is None:
        return False
    series = session.execute(select(metric_series.c.id).where(metric_series.c.set_id == orphan).limit(1)).scalar()
    if series is None:
        session.execute(delete(metric_sets).where(metric_sets.c.id == orphan))
    elif not _remove_rows_of(session, series):
        session.execute(delete(metric_series).where(metric_series.c.id == series))
    return True


def _remove_rows_of(session: Session, series: int) -> int:
    """How many rows of the series were removed, at most `PORTION` of points and of buckets each."""
    removed = 0
    for table in (metric_points, metric_buckets):
        key = tuple_(*table.primary_key.columns)
        portion = select(*table.primary_key.columns).where(table.c.series_id == series).limit(PORTION)
        removed += session.execute(delete(table).where(key.in_(portion))).rowcount  # type: ignore[attr-defined]
    return removed
