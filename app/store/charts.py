"""Metric points go out: as a chart of bounded size, or one by one as they arrived."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.store.buckets import LEVELS, bucket_of, open_bucket, stored
from app.store.metric_tables import metric_buckets, metric_points, metric_series, metric_sets
from app.store.summaries import Summary


@dataclass(frozen=True)
class MetricSet:
    """The series of a job (id and last step), by name, and how many points have arrived."""

    id: int
    arrivals: int
    series: dict[str, tuple[int, int]]


def find_set(session: Session, job_id: str, names: Sequence[str] | None) -> MetricSet | None:
    """The series of a job; None before the first point."""
    found = session.execute(select(metric_sets).where(metric_sets.c.job_id == job_id)).one_or_none()
    if found is None:
        return None
    query = select(metric_series).where(metric_series.c.set_id == found.id)
    if names is not None:
        query = query.where(metric_series.c.name.in_(names))
    series = {row.name: (row.id, row.last_step) for row in session.execute(query.order_by(metric_series.c.name))}
    return MetricSet(found.id, found.arrivals, series)


def chart(session: Session, series_id: int, last_step: int, max_points: int, first: int, last: int) -> list[Summary]:
    """The steps from `first` to `last` in at most `max_points` buckets of equal width, the narrowest that do.

    Buckets at the edges are whole: they may reach beyond. Costs a few index walks of `max_points` entries each.
    """
    query = _points(series_id, first, last)
    if _is_at_most(session, query, max_points):
        return [Summary.of_point(row.step, row.time, row.value, row.kind) for row in session.execute(query)]
    for level in LEVELS:
        low, high = bucket_of(first, level), bucket_of(min(last, last_step), level)
        last_closed = min(high, bucket_of(last_step, level) - 1)
        if _is_at_most(session, _buckets(series_id, level, low, last_closed), max_points - (high > last_closed)):
            break
    found = stored(session, series_id, level, low, last_closed)
    if high > last_closed:
        found.append(open_bucket(session, series_id, last_step, level))
    return _merged(found, max_points)


def arrived(
    session: Session, set_id: int, series_ids: Sequence[int], after: int, limit: int
) -> tuple[Sequence[Any], int]:
    """Points of these series that arrived behind `after`, in order of arrival, and the arrival that was read up to.

    At most `limit` points are looked at, of whatever series.
    """
    columns = metric_points.c
    query = select(columns.arrival, columns.series_id, columns.step, columns.time, columns.value, columns.kind)
    query = query.where(columns.set_id == set_id, columns.arrival > after).order_by(columns.arrival).limit(limit)
    rows = session.execute(query).all()
    wanted = set(series_ids)
    return [row for row in rows if row.series_id in wanted], rows[-1].arrival if rows else after


def _points(series_id: int, first: int, last: int) -> Select[Any]:
    columns = metric_points.c
    query = select(columns.step, columns.time, columns.value, columns.kind)
    return query.where(columns.series_id == series_id, columns.step.between(first, last)).order_by(columns.step)


def _buckets(series_id: int, level: int, low: int, high: int) -> Select[Any]:
    columns = metric_buckets.c
    inside = (columns.series_id == series_id, columns.level == level, columns.bucket.between(low, high))
    return select(columns.bucket).where(*inside)


def _is_at_most(session: Session, query: Select[Any], count: int) -> bool:
    walk = query.limit(count + 1).subquery()
    return session.execute(select(func.count()).select_from(walk)).scalar_one() <= count


def _merged(summaries: list[Summary], max_points: int) -> list[Summary]:
    """Neighbours taken together, when even the widest buckets are too many."""
    size = -(-len(summaries) // max_points) or 1
    return [Summary.of_parts(summaries[start : start + size]) for start in range(0, len(summaries), size)]
