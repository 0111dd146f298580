"""Metric points come in: stored one by one, and summed in buckets of 10, 100, ... steps (see `buckets`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from app.store import buckets
from app.store.buckets import Moved, StoredPoint
from app.store.metric_tables import metric_points, metric_series, metric_sets
from app.store.summaries import kind_of
from app.store.upserts import insert_if_absent, upsert_many

MAX_SERIES = 1000
"""Of one job. A name made of a step number would otherwise fill the disk."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one metric. `value` need not be finite."""

    name: str
    step: int
    time_s: float
    value: float


Rows = dict[tuple[int, int], dict[str, Any]]  # by (series, step)


def add(session: Session, job_id: str, points: Sequence[Point]) -> set[str]:
    """Store points; one that is there already is replaced and arrives again. Answers the names beyond `MAX_SERIES`.

    The caller holds the job's row lock.
    """
    set_id, arrivals = _set_of(session, job_id)
    series = _series_of(session, set_id, dict.fromkeys(point.name for point in points))
    kept = [point for point in points if point.name in series]
    rows = _point_rows(kept, {name: row_id for name, (row_id, _) in series.items()}, set_id, arrivals)
    if rows:
        _store(session, rows, dict(series.values()))
        moved = update(metric_sets).where(metric_sets.c.id == set_id).values(arrivals=arrivals + len(rows))
        session.execute(moved)
    return {point.name for point in points} - series.keys()


def _set_of(session: Session, job_id: str) -> tuple[int, int]:
    query = select(metric_sets.c.id, metric_sets.c.arrivals).where(metric_sets.c.job_id == job_id)
    row = session.execute(query).one_or_none()
    if row is None:
        session.execute(insert_if_absent(session, metric_sets, ["job_id"]).values(job_id=job_id, arrivals=0))
        row = session.execute(query).one()
    return row.id, row.arrivals


def _series_of(session: Session, set_id: int, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Id and last step by name, of those series that there may be; new ones are made while there is room."""
    query = select(metric_series).where(metric_series.c.set_id == set_id)
    known = {row.name: (row.id, row.last_step) for row in session.execute(query)}
    new = [name for name in names if name not in known][: MAX_SERIES - len(known)]
    if new:
        rows = [{"name": name} for name in new]
        session.execute(insert(metric_series).values(set_id=set_id, last_step=0), rows)
        known = {row.name: (row.id, row.last_step) for row in session.execute(query)}
    return {name: known[name] for name in names if name in known}


def _point_rows(points: Sequence[Point], ids: dict[str, int], set_id: int, arrivals: int) -> Rows:
    """One row for each (series, step): of several in one batch the last counts."""
    rows: Rows = {}
    for point in points:
        kind = kind_of(point.value)
        key = (ids[point.name], point.step)
        rows.pop(key, None)
        rows[key] = {
            "series_id": key[0],
            "step": point.step,
            "set_id": set_id,
            "time": point.time_s,
            "value": None if kind else float(point.value),
            "kind": kind,
        }
    for arrival, row in enumerate(rows.values(), arrivals + 1):
        row["arrival"] = arrival
    return rows


def _store(session: Session, rows: Rows, last_steps: dict[int, int]) -> None:
    upsert_many(session, metric_points, ["series_id", "step"], list(rows.values()))
    points: dict[int, list[StoredPoint]] = {}
    for (series_id, step), row in rows.items():
        points.setdefault(series_id, []).append((step, row["time"], row["value"], row["kind"]))
    moves = [_moved(each, last_steps[each], found) for each, found in points.items()]
    buckets.close(session, moves)
    moved = [{"of": each.series_id, "to": each.after} for each in moves if each.after > each.before]
    if moved:
        session.connection().execute(_MOVE_LAST_STEP, moved)


def _moved(series_id: int, before: int, points: list[StoredPoint]) -> Moved:
    points.sort(key=itemgetter(0))
    return Moved(series_id, before, max(before, points[-1][0]), points)


_MOVE_LAST_STEP = update(metric_series).where(metric_series.c.id == bindparam("of")).values(last_step=bindparam("to"))
