"""Sums of a series over 10, 100, ... steps: a chart of a million points then reads a thousand rows.

A bucket is written once, when its series has moved beyond it, and again only when a step in it is. What is not in a
closed bucket yet is summed when it is read, from at most nine buckets of each level below and ten points. (Buckets that
grow with every point took six writes a point where these take one in nine.)

They are computed here and not by the database, since the two SQLs differ on NaN, on overflow and on underflow.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Select, bindparam, select
from sqlalchemy.orm import Session

from app.store.metric_tables import metric_buckets, metric_points
from app.store.summaries import Summary
from app.store.upserts import upsert_many

LEVELS = range(1, 7)
"""Buckets of up to a million steps."""

Key = tuple[int, int]  # series, bucket
StoredPoint = tuple[int, float, float | None, int]  # step, time, value, kind
Spans = dict[tuple[int, int], list[int]]  # the series that need the same stretch, by that stretch


class Moved(NamedTuple):
    """A series that took in `points`, in order of steps: its last step `before` (0: it had none) and `after`."""

    series_id: int
    before: int
    after: int
    points: Sequence[StoredPoint]


def bucket_of(step: int, level: int) -> int:
    """The bucket of a level that a step is in. Of the last step it is open; all before it are closed."""
    width: int = 10**level
    return (step - 1) // width


def close(session: Session, moves: Sequence[Moved]) -> None:
    """Write the buckets that the series have moved beyond, and those closed before in which a step came again.

    The points are stored already.
    """
    moves = [each for each in moves if _closes_any(each)]
    touched = {each.series_id: {bucket_of(point[0], 1) for point in each.points} for each in moves}
    for level in LEVELS:
        for each in moves:
            touched[each.series_id] = _closed(each, level, touched[each.series_id])
        if not any(touched.values()):
            return
        _write(session, level, _new_sums(moves, touched) if level == 1 else {})
        _write(session, level, _sums(session, level, _not_new(moves, touched) if level == 1 else touched))
        touched = {series_id: {bucket // 10 for bucket in found} for series_id, found in touched.items()}


def stored(session: Session, series_id: int, level: int, first: int, last: int) -> list[Summary]:
    """The closed buckets of a level from `first` to `last`."""
    if last < first:
        return []
    return [Summary.of_row(row) for row in session.execute(*_buckets([series_id], level, first, last))]


def open_bucket(session: Session, series_id: int, last_step: int, level: int) -> Summary:
    """The bucket of the last step, summed from what is closed below it and the newest points."""
    parts: list[Summary] = []
    for below in range(level - 1, 0, -1):
        first = bucket_of(last_step, below + 1) * 10
        parts += stored(session, series_id, below, first, bucket_of(last_step, below) - 1)
    newest = session.execute(*_points([series_id], bucket_of(last_step, 1) * 10 + 1, last_step))
    return Summary.of_parts([*parts, Summary.of_points([point for _, *point in newest])])


def _closes_any(moved: Moved) -> bool:
    """Mostly not: of a metric with a point in each batch, every tenth batch closes one."""
    _, before, after, points = moved
    first: int = points[0][0]
    return (min(before or first, first) - 1) // 10 < (after - 1) // 10


def _closed(moved: Moved, level: int, touched: set[int]) -> set[int]:
    was_open = {bucket_of(moved.before, level)} if moved.before else set()
    now_open = bucket_of(moved.after, level)
    return {bucket for bucket in touched | was_open if bucket < now_open}


def _new_sums(moves: Sequence[Moved], touched: dict[int, set[int]]) -> dict[Key, Summary]:
    """The first buckets of steps that the series had not reached before: all that is in them has just come in."""
    found: dict[Key, Summary] = {}
    for each in moves:
        new = {bucket for bucket in touched[each.series_id] if _is_new(each, bucket)}
        for bucket, inside in groupby(each.points, _first_bucket) if new else ():
            if bucket in new:
                found[each.series_id, bucket] = Summary.of_points(list(inside))
    return found


def _first_bucket(point: StoredPoint) -> int:
    return (point[0] - 1) // 10


def _not_new(moves: Sequence[Moved], touched: dict[int, set[int]]) -> dict[int, set[int]]:
    return {each.series_id: {one for one in touched[each.series_id] if not _is_new(each, one)} for each in moves}


def _is_new(moved: Moved, bucket: int) -> bool:
    return not moved.before or bucket > bucket_of(moved.before, 1)


def _sums(session: Session, level: int, touched: dict[int, set[int]]) -> dict[Key, Summary]:
    """The buckets as they are now: of points, or of the buckets below."""
    found: dict[Key, list[Any]] = {}
    for (first, last), series in _spans(touched).items():
        if level == 1:
            for series_id, *point in session.execute(*_points(series, first * 10 + 1, last * 10 + 10)).all():
                found.setdefault((series_id, (point[0] - 1) // 10), []).append(point)
        else:
            for row in session.execute(*_buckets(series, level - 1, first * 10, last * 10 + 9)).all():
                found.setdefault((row.series_id, row.bucket // 10), []).append(Summary.of_row(row))
    summed = Summary.of_points if level == 1 else Summary.of_parts
    return {key: summed(inside) for key, inside in found.items()}


def _points(series: list[int], first: int, last: int) -> tuple[Select[Any], dict[str, Any]]:
    """Metrics of one step share their stretch, so that one statement reads them all."""
    return _POINTS, {"series": series, "first": first, "last": last}


def _buckets(series: list[int], level: int, first: int, last: int) -> tuple[Select[Any], dict[str, Any]]:
    return _BUCKETS, {"series": series, "level": level, "first": first, "last": last}


def _spans(touched: dict[int, set[int]]) -> Spans:
    spans: Spans = {}
    for series_id, found in touched.items():
        for run in _runs(sorted(found)):
            spans.setdefault(run, []).append(series_id)
    return spans


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Sorted numbers as (first, last) of each unbroken run."""
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            yield numbers[start], numbers[end - 1]
            start = end


def _write(session: Session, level: int, sums: dict[Key, Summary]) -> None:
    rows = [(series_id, level, bucket, *_columns(each)) for (series_id, bucket), each in sums.items()]
    upsert_many(session, metric_buckets, ["series_id", "level", "bucket"], rows)


_columns = attrgetter(*Summary.__slots__)  # in the table's order


_SERIES: BindParameter[Any] = bindparam("series", expanding=True)
_STRETCH: tuple[BindParameter[Any], BindParameter[Any]] = (bindparam("first"), bindparam("last"))
_POINTS = (
    select(*(metric_points.c[name] for name in ("series_id", "step", "time", "value", "kind")))
    .where(metric_points.c.series_id.in_(_SERIES), metric_points.c.step.between(*_STRETCH))
    .order_by(metric_points.c.series_id, metric_points.c.step)
)
_BUCKETS = (
    select(metric_buckets)
    .where(
        metric_buckets.c.series_id.in_(_SERIES),
        metric_buckets.c.level == bindparam("level"),
        metric_buckets.c.bucket.between(*_STRETCH),
    )
    .order_by(metric_buckets.c.series_id, metric_buckets.c.bucket)
)
