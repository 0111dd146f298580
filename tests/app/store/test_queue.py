"""The queue is walked in its own order by its own index, however many jobs wait."""

import pytest
from sqlalchemy import event, insert, text

from app.store import queue
from app.store.queue import Room
from app.store.tables import jobs

ROOM = Room(free=2, total=4, is_gpu=False)
WALKS = {
    "one place": lambda session, row: queue.places(session, [row]),
    "many places": lambda session, row: queue.places(session, [row, row]),
    "next": lambda session, _: queue.next_fitting(session, ROOM),
    "held back": lambda session, row: queue.is_held_back(session, ROOM, row, 600.0),
}


@pytest.fixture
def last(database, service):
    """The row of the last of 3,001 queued jobs."""
    first = service.submit()
    with database.write() as session:
        row = session.execute(jobs.select().where(jobs.c.id == first.id)).one()._asdict()
        later = [row | {"id": f"job_{n:04}", "created_at": row["created_at"] + n} for n in range(1, 3001)]
        session.execute(insert(jobs), later)
        session.execute(text("ANALYZE jobs")) if not database.is_sqlite else None
        return session.execute(jobs.select().where(jobs.c.id == "job_3000")).one()


def plan_of(database, ask):
    """How the database carries out the last statement of `ask(session)`."""
    asked = []

    def note(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    with database.write() as session:
        event.listen(database.engine, "before_cursor_execute", note)
        ask(session)
        event.remove(database.engine, "before_cursor_execute", note)
        statement, parameters = asked[-1]
        prefix = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
        return str(session.connection().exec_driver_sql(prefix + statement, parameters).all())


@pytest.mark.parametrize("walk", WALKS)
def test_the_index_of_the_queue_is_used_and_nothing_is_sorted(database, last, walk):
    plan = plan_of(database, lambda session: WALKS[walk](session, last))
    assert "ix_jobs_queue" in plan
    assert not any(sign in plan for sign in ("TEMP B-TREE", "Sort"))


def test_when_the_next_job_is_due_is_read_from_an_index(database, last):
    assert "ix_jobs_due" in plan_of(database, queue.due_in_s)


def test_places_are_counted_up_to_a_cap(database, last):
    with database.read() as session:
        assert queue.places(session, [last]) == {"job_3000": queue.POSITION_CAP + 1}
        assert queue.places(session, [last, last]) == {"job_3000": queue.POSITION_CAP + 1}
