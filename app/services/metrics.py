"""The metrics of a job: as a chart, or only what is new."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.contract.views import MetricsPage, Series
from app.services.job_view import require
from app.store import charts
from app.store.charts import MetricSet
from app.store.cursors import read_cursor, write_cursor
from app.store.summaries import Summary
from app.store.types import moment

MAX_STEP = 2**53
QUESTION = "metrics"


def chart(
    session: Session,
    job_id: str,
    names: Sequence[str] | None,
    max_points: int = 1000,
    x_from: int | None = None,
    x_to: int | None = None,
) -> MetricsPage:
    """At most `max_points` buckets of each metric over these steps. The cursor asks for what arrives from now on."""
    found = _found(session, job_id, names)
    if found is None:
        return MetricsPage(series={}, cursor=write_cursor(QUESTION, 0))
    first, last = max(x_from or 1, 1), MAX_STEP if x_to is None else x_to
    shown = {
        name: _series(charts.chart(session, series_id, last_step, max_points, first, last))
        for name, (series_id, last_step) in found.series.items()
    }
    series = {name: each for name, each in shown.items() if each.step}
    return MetricsPage(series=series, cursor=write_cursor(QUESTION, found.arrivals))


def new_points(session: Session, job_id: str, names: Sequence[str] | None, after: str, limit: int) -> MetricsPage:
    """The points behind the cursor, one by one, at most `limit`. A step that was run again comes again."""
    (arrival,) = read_cursor(QUESTION, after, (int,), "after")
    found = _found(session, job_id, names)
    if found is None:
        return MetricsPage(series={}, cursor=after)
    rows, read_to = charts.arrived(session, found.id, [each for each, _ in found.series.values()], arrival, limit)
    by_series: dict[int, list[Summary]] = {}
    for row in rows:
        point = Summary.of_point(row.step, row.time, row.value, row.kind)
        by_series.setdefault(row.series_id, []).append(point)
    series = {name: _series(by_series[each]) for name, (each, _) in found.series.items() if each in by_series}
    return MetricsPage(series=series, cursor=write_cursor(QUESTION, read_to))


def _found(session: Session, job_id: str, names: Sequence[str] | None) -> MetricSet | None:
    require(session, job_id)
    return charts.find_set(session, job_id, names)


def _series(summaries: Sequence[Summary]) -> Series:
    return Series(
        step=[each.last_step for each in summaries],
        time=[moment(each.last_time) for each in summaries],
        value=[each.shown_mean() for each in summaries],
        min=[each.shown_low() for each in summaries],
        max=[each.shown_high() for each in summaries],
    )
