"""Metric points come in: stored one by one, and added to buckets of 10, 100, ... steps as they arrive.

A chart of a thousand points then costs the same whether ten thousand or a million were reported. Buckets are computed
here and not by the database, since their two SQLs differ on NaN, on overflow and on underflow.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select, tuple_, update
from sqlalchemy.orm import Session

from app.store.metric_tables import metric_buckets, metric_points, metric_series, metric_sets
from app.store.summaries import Summary, kind_of
from app.store.upserts import insert_if_absent, upsert

LEVELS = range(1, 7)
"""Buckets of up to a million steps."""

MAX_SERIES = 1000
"""Of one job. A name made of a step number would otherwise fill the disk."""

CHUNK = 2000
"""Keys of one IN list: SQLite takes at most 32,766 parameters a statement."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one metric. `value` need not be finite."""

    name: str
    step: int
    time_s: float
    value: float


Key = tuple[int, int, int]  # series, level, bucket
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
    """Series that only grow are added to their buckets; where a step came again, its buckets are made anew."""
    newest: dict[int, int] = {}
    again: set[int] = set()
    for series_id, step in rows:
        newest[series_id] = max(step, newest.get(series_id, last_steps[series_id]))
        if step <= last_steps[series_id]:
            again.add(series_id)
    session.execute(upsert(session, metric_points, ["series_id", "step"]), list(rows.values()))
    summaries = _summaries({key: row for key, row in rows.items() if key[0] not in again})
    _add_stored(session, summaries)
    for series_id in sorted(again):
        summaries.update(_made_anew(session, series_id, [step for each, step in rows if each == series_id]))
    _write(session, summaries)
    moved = [{"of": series_id, "to": step} for series_id, step in newest.items() if step > last_steps[series_id]]
    if moved:
        session.connection().execute(_MOVE_LAST_STEP, moved)


def _summaries(rows: Rows) -> dict[Key, Summary]:
    """What the rows add to each bucket of each level."""
    found: dict[Key, Summary] = {}
    for (series_id, step), row in rows.items():
        point = Summary.of_point(step, row["time"], row["value"], row["kind"])
        _add_to(found, (series_id, 1, (step - 1) // 10), point)
    below = dict(found)
    for level in LEVELS[1:]:
        above: dict[Key, Summary] = {}
        for (series_id, _, bucket), summary in below.items():
            _add_to(above, (series_id, level, bucket // 10), summary)
        found.update(above)
        below = above
    return found


def _add_to(found: dict[Key, Summary], key: Key, summary: Summary) -> None:
    if key in found:
        found[key].add(summary)
    else:
        found[key] = summary.copy()


def _add_stored(session: Session, summaries: dict[Key, Summary]) -> None:
    """Add what the buckets hold already."""
    columns = (metric_buckets.c.series_id, metric_buckets.c.level, metric_buckets.c.bucket)
    keys = list(summaries)
    for start in range(0, len(keys), CHUNK):
        query = select(metric_buckets).where(tuple_(*columns).in_(keys[start : start + CHUNK]))
        for row in session.execute(query):
            summaries[row.series_id, row.level, row.bucket].add(Summary.of_row(row))


def _made_anew(session: Session, series_id: int, steps: list[int]) -> dict[Key, Summary]:
    """The buckets of these steps, from the points and buckets below them."""
    found: dict[Key, Summary] = {}
    touched = sorted({(step - 1) // 10 for step in steps})
    for first, last in _runs(touched):
        columns = metric_points.c
        query = select(columns.step, columns.time, columns.value, columns.kind).where(columns.series_id == series_id)
        for row in session.execute(query.where(columns.step.between(first * 10 + 1, last * 10 + 10))):
            _add_to(found, (series_id, 1, (row.step - 1) // 10), Summary.of_point(*row))
    for level in LEVELS[1:]:
        _write(session, {key: summary for key, summary in found.items() if key[1] == level - 1})
        touched = sorted({bucket // 10 for bucket in touched})
        for first, last in _runs(touched):
            mine = (metric_buckets.c.series_id == series_id, metric_buckets.c.level == level - 1)
            query = select(metric_buckets).where(*mine, metric_buckets.c.bucket.between(first * 10, last * 10 + 9))
            for row in session.execute(query):
                _add_to(found, (series_id, level, row.bucket // 10), Summary.of_row(row))
    return found


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Sorted numbers as (first, last) of each unbroken run: a resumed run repeats one stretch."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _write(session: Session, summaries: dict[Key, Summary]) -> None:
    rows = [
        {"series_id": key[0], "level": key[1], "bucket": key[2], **_columns(summary)}
        for key, summary in summaries.items()
    ]
    if rows:
        session.execute(upsert(session, metric_buckets, ["series_id", "level", "bucket"]), rows)


def _columns(summary: Summary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in Summary.__slots__}


_MOVE_LAST_STEP = update(metric_series).where(metric_series.c.id == bindparam("of")).values(last_step=bindparam("to"))
