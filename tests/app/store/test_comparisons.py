"""The newest reports on the same data: one walk over their own index, however many jobs there are."""

import pytest
from sqlalchemy import event, insert, text

from app.store import comparisons
from app.store.tables import jobs
from tests.support.service import REPORT, SHA256

JOBS = 3000


@pytest.fixture
def crowded(service, database):
    """Thousands of jobs on a few data sets; every other one failed."""
    job, work = service.running()
    service.finish(work)
    with database.write() as session:
        row = dict(session.execute(jobs.select().where(jobs.c.id == job)).mappings().one())
        rows = [
            row
            | {"id": f"job_{n:06}", "created_at": row["created_at"] + n, "dataset_sha256": f"{n % 6:064}"}
            | ({"state": "failed", "failure": {"code": "x"}} if n % 2 else {})
            for n in range(JOBS)
        ]
        session.execute(insert(jobs), rows)
        session.execute(text("ANALYZE jobs")) if not database.is_sqlite else None
    return database


def test_the_newest_that_succeeded_come_first(crowded):
    with crowded.read() as session:
        found = comparisons.newest_on(session, f"{2:064}", 5)
    assert [row.id for row in found] == [f"job_{n:06}" for n in (2996, 2990, 2984, 2978, 2972)]
    assert found[0].report == REPORT.model_dump(mode="json")
    with crowded.read() as session:
        assert comparisons.newest_on(session, f"{3:064}", 5) == [], "these have failed"
        assert comparisons.newest_on(session, SHA256, 5) == []


def test_its_index_is_used(crowded):
    """In its order, or (PostgreSQL, of some hundred matches) as a set that is sorted."""
    asked = []

    def note(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    with crowded.read() as session:
        event.listen(crowded.engine, "before_cursor_execute", note)
        comparisons.newest_on(session, f"{2:064}", 200)
        event.remove(crowded.engine, "before_cursor_execute", note)
        statement, parameters = asked[-1]
        prefix = "EXPLAIN QUERY PLAN " if crowded.is_sqlite else "EXPLAIN "
        plan = str(session.connection().exec_driver_sql(prefix + statement, parameters).all())
    assert "ix_jobs_measured" in plan
    assert not any(sign in plan for sign in ("TEMP B-TREE", "Seq Scan"))
