"""Metric points come in: stored one by one, and summed in buckets of 10, 100, ... steps (see `buckets`)."""

from collections.abc import Iterable, Sequence
from functools import cache
from math import isfinite
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import Executable, bindparam, insert, select, update
from sqlalchemy.orm import Session

from app.store import buckets
from app.store.buckets import Moved, StoredPoint
from app.store.metric_tables import metric_points, metric_series, metric_sets
from app.store.summaries import kind_of
from app.store.upserts import as_text, insert_if_absent, upsert_many

MAX_SERIES = 1000
"""Of one job. A name made of a step number would otherwise fill the disk."""


class Point(NamedTuple):
    """One value of one metric. `value` need not be finite."""

    name: str
    step: int
    time_s: float
    value: float


Rows = dict[tuple[int, int], tuple[float, float | None, int]]  # time, value and kind by (series, step)


def add(session: Session, job_id: str, points: Sequence[Point]) -> set[str]:
    """Store points; one that is there already is replaced and arrives again. Answers the names beyond `MAX_SERIES`.

    The caller holds the job's row lock.
    """
    set_id, arrivals = _set_of(session, job_id)
    names = dict.fromkeys([point[0] for point in points])
    series = _series_of(session, set_id, names)
    rows = _point_rows(points, {name: row_id for name, (row_id, _) in series.items()})
    if rows:
        _store(session, set_id, arrivals, rows, dict(series.values()))
    return names.keys() - series.keys()


def _set_of(session: Session, job_id: str) -> tuple[int, int]:
    row = session.execute(_SET, {"of_job": job_id}).one_or_none()
    if row is None:
        session.execute(insert_if_absent(session, metric_sets, ["job_id"]).values(job_id=job_id, arrivals=0))
        row = session.execute(_SET, {"of_job": job_id}).one()
    return row.id, row.arrivals


def _series_of(session: Session, set_id: int, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Id and last step by name, of those series that there may be; new ones are made while there is room."""
    known = _known_series(session, set_id)
    new = [name for name in names if name not in known][: MAX_SERIES - len(known)]
    if new:
        rows = [{"name": name} for name in new]
        session.execute(insert(metric_series).values(set_id=set_id, last_step=0), rows)
        known = _known_series(session, set_id)
    return {name: known[name] for name in names if name in known}


def _known_series(session: Session, set_id: int) -> dict[str, tuple[int, int]]:
    found = session.connection().exec_driver_sql(_text(session, _SERIES), (set_id,)).all()
    return {name: (row_id, last_step) for name, row_id, last_step in found}


def _point_rows(points: Sequence[Point], ids: dict[str, int]) -> Rows:
    """One row for each (series, step), in the order of arrival: of several in one batch the last counts."""
    rows: Rows = {}
    for name, step, time_s, value in points:
        if name in ids:
            key = (ids[name], step)
            if key in rows:
                del rows[key]
            rows[key] = (time_s, float(value), 0) if isfinite(value) else (time_s, None, kind_of(value))
    return rows


def _store(session: Session, set_id: int, arrivals: int, rows: Rows, last_steps: dict[int, int]) -> None:
    stored = [
        (series_id, step, set_id, arrival, *row)
        for arrival, ((series_id, step), row) in enumerate(rows.items(), arrivals + 1)
    ]
    upsert_many(session, metric_points, ["series_id", "step"], stored)
    points: dict[int, list[StoredPoint]] = {}
    for (series_id, step), (time_s, value, kind) in rows.items():
        points.setdefault(series_id, []).append((step, time_s, value, kind))
    moves = [_moved(each, last_steps[each], found) for each, found in points.items()]
    buckets.close(session, moves)
    moved = [(each.after, each.series_id) for each in moves if each.after > each.before]
    if moved:
        session.connection().exec_driver_sql(_text(session, _MOVE_LAST_STEP), moved)
    session.execute(_MOVE_ARRIVALS, {"of": set_id, "to": arrivals + len(rows)})


def _moved(series_id: int, before: int, points: list[StoredPoint]) -> Moved:
    if len(points) > 1:
        points.sort(key=itemgetter(0))
    return Moved(series_id, before, max(before, points[-1][0]), points)


# Made once; of a batch with a hundred metrics, those with many rows go straight to the driver.
_SET = select(metric_sets.c.id, metric_sets.c.arrivals).where(metric_sets.c.job_id == bindparam("of_job"))
_SERIES = select(metric_series.c.name, metric_series.c.id, metric_series.c.last_step).where(
    metric_series.c.set_id == bindparam("of")
)
_MOVE_LAST_STEP = update(metric_series).where(metric_series.c.id == bindparam("of")).values(last_step=bindparam("to"))
_MOVE_ARRIVALS = update(metric_sets).where(metric_sets.c.id == bindparam("of")).values(arrivals=bindparam("to"))


def _text(session: Session, statement: Executable) -> str:
    return _as_text(session.get_bind().dialect.name, statement)


_as_text = cache(as_text)
