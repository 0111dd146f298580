"""Points and their sums: equal to what a scan of all points would say, on both databases."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.services import metrics as rules
from app.store import charts, garbage, metrics
from app.store.metrics import Point
from app.store.session import Database
from tests.support.service import Service

VALUES = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([math.nan, math.inf, -math.inf, 1.7e308, -1.7e308, 5e-324, 0.0]),
)
BATCH = st.lists(st.tuples(st.integers(1, 350), VALUES), min_size=1, max_size=40)


def add(database, job, points):
    with database.write() as session:
        return metrics.add(session, job, [Point(*each) for each in points])


def chart(database, job, max_points=1000, first=None, last=None):
    with database.read() as session:
        return rules.chart(session, job, None, max_points, first, last).series


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(BATCH, min_size=1, max_size=5), max_points=st.sampled_from([1, 3, 40]))
def test_buckets_equal_a_scan_of_the_latest_value_of_each_step(database, batches, max_points):
    job = Service(database).submit().id
    latest = {}
    for batch in batches:
        add(database, job, [("m", step, float(step), value) for step, value in batch])
        latest.update(batch)
    found = chart(database, job, max_points)["m"]
    assert len(found.step) <= max_points
    assert found.step == sorted(found.step)
    start = 0
    for end, value, low, high in zip(found.step, found.value, found.min, found.max, strict=True):
        inside = [latest[step] for step in sorted(latest) if start < step <= end]
        _assert_summary(inside, value, low, high)
        start = end
    assert found.step[-1] == max(latest)


def _assert_summary(inside, value, low, high):
    finite = [each for each in inside if math.isfinite(each)]
    assert (value in ("NaN", "Infinity", "-Infinity")) == (len(finite) < len(inside))
    if any(map(math.isnan, inside)):
        assert value == "NaN"
    if -math.inf in inside:
        assert low == "-Infinity"
    elif finite:
        assert low == min(finite)
    if math.inf in inside:
        assert high == "Infinity"
    elif finite:
        assert high == max(finite)
    if len(finite) == len(inside):
        exact = math.fsum(each / len(inside) for each in finite)
        assert value == pytest.approx(exact, rel=1e-9, abs=1e-9 * max(map(abs, finite)))


def test_a_step_run_again_replaces_its_value_and_arrives_again(database, service):
    job = service.submit().id
    add(database, job, [("m", step, 1.0, float(step)) for step in range(1, 31)])
    with database.read() as session:
        cursor = rules.chart(session, job, None).cursor
    add(database, job, [("m", step, 2.0, -float(step)) for step in range(21, 26)])
    with database.read() as session:
        page = rules.new_points(session, job, None, cursor, 100)
    assert page.series["m"].step == [21, 22, 23, 24, 25]
    assert page.series["m"].value == [-21.0, -22.0, -23.0, -24.0, -25.0]
    assert chart(database, job, 3)["m"].min == [1.0, 11.0, -25.0]


def test_new_points_are_paged_in_order_of_arrival(database, service):
    job = service.submit().id
    add(database, job, [(name, step, 0.0, 1.0) for step in range(1, 6) for name in ("a", "b")])
    seen, cursor = [], chart_cursor(database, job)
    while True:
        with database.read() as session:
            page = rules.new_points(session, job, None, cursor, 3)
        if not page.series:
            break
        seen += [(name, step) for name, series in page.series.items() for step in series.step]
        cursor = page.cursor
    assert sorted(seen) == sorted((name, step) for step in range(1, 6) for name in ("a", "b"))


def chart_cursor(database, job):
    """A cursor from before the first point: that of a job without points."""
    with database.read() as session:
        return rules.chart(session, Service(database).submit().id, None).cursor


@pytest.mark.parametrize("scale", [1, 100])
def test_a_chart_reads_no_more_rows_when_there_are_more_points(tmp_path, scale, statements_of):
    """A hundred times the points: the same number of statements and of buckets."""
    database, job = _with_points(tmp_path, 2000 * scale)
    with statements_of(database) as statements:
        found = chart(database, job, 200)["m"]
    assert 20 <= len(found.step) <= 200
    assert len(statements) <= 3 + 8 + 6  # the last six: one a level for the bucket that is still open
    database.close()


def _with_points(tmp_path, count):
    from app.settings import Settings
    from app.store import migrate

    url = f"sqlite:///{tmp_path / 'many.db'}"
    migrate.upgrade(url)
    database = Database(url, Settings(home=tmp_path, database_url=url))
    job = Service(database).submit().id
    for start in range(1, count + 1, 10_000):
        stop = min(start + 10_000, count + 1)
        add(database, job, [("m", step, float(step), step % 7.0) for step in range(start, stop)])
    return database, job


def test_a_bucket_is_written_once_when_its_series_has_moved_beyond_it(database, service, statements_of):
    job = service.submit().id
    add(database, job, [("m", 1, 1.0, 1.0)])
    for step in range(2, 11):
        with statements_of(database) as statements:
            add(database, job, [("m", step, float(step), float(step))])
        assert not [each for each in statements if "metric_buckets" in each]
    with statements_of(database) as statements:
        add(database, job, [("m", 11, 11.0, 11.0)])
    assert sum("INSERT INTO metric_buckets" in each for each in statements) == 1
    found = chart(database, job, 2)["m"]
    assert (found.step, found.value, found.min, found.max) == ([10, 11], [5.5, 11.0], [1.0, 11.0], [10.0, 11.0])


def test_extremes_of_a_chart_are_exact(database, service):
    job = service.submit().id
    add(database, job, [("m", step, 0.0, 1.0) for step in range(1, 3001)])
    add(database, job, [("m", 1234, 0.0, 99.0)])
    found = chart(database, job, 10)["m"]
    assert max(found.max) == 99.0
    assert min(found.min) == 1.0


def test_points_of_a_deleted_job_are_removed_in_portions(database, service, monkeypatch):
    monkeypatch.setattr(garbage, "PORTION", 7)
    job = service.submit().id
    add(database, job, [("m", step, 0.0, 1.0) for step in range(1, 31)])
    service.cancel(job)
    service.delete(job)
    rounds = 0
    while True:
        with database.write() as session:
            if not garbage.remove_points(session):
                break
        rounds += 1
    assert rounds > 4
    with database.read() as session:
        assert charts.arrived(session, 1, [1], 0, 10) == ([], 0)
