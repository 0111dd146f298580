"""Events: numbers without gaps under parallel writers, and a global order in which nothing appears behind a reader."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import InvalidQuery
from app.services import history
from app.store import jobs
from app.store.events import News, of_all


def note(session, job, text):
    jobs.change(session, job, news=[News("note", {"text": text})])


def all_events(database, after=None, limit=1000):
    with database.read() as session:
        return history.all_events(session, after, limit)


def test_parallel_writers_leave_no_gap_and_no_double_number(database, service):
    job = service.submit().id

    def write(n):
        for _ in range(5):
            with database.write() as session:
                note(session, job, n)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with database.read() as session:
        events = history.events(session, job, None, 100).items
    assert [event.seq for event in events] == list(range(1, 22))


def test_a_reader_of_all_events_is_never_overtaken(database, service):
    """A transaction that began first and commits last: its event must not appear behind the cursor."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer: transactions commit in the order in which they begin")
    slow, quick = service.submit().id, service.submit().id
    start = all_events(database).cursor
    wrote, may_commit = threading.Event(), threading.Event()

    def write_slowly():
        with database.write() as session:
            note(session, slow, "slow")
            wrote.set()
            may_commit.wait(20)

    thread = threading.Thread(target=write_slowly)
    thread.start()
    wrote.wait(20)
    with database.write() as session:
        note(session, quick, "quick")
    early = all_events(database, start)
    may_commit.set()
    thread.join()
    late = all_events(database, early.cursor)
    assert [event.data["text"] for event in early.items + late.items] == ["slow", "quick"]
    assert early.items == []


def test_pages_over_all_jobs_miss_and_repeat_nothing(database, service):
    made = {service.submit().id for _ in range(7)}
    seen, cursor = [], None
    while (page := all_events(database, cursor, 2)).items:
        seen += [event.data["job"] for event in page.items]
        cursor = page.cursor
    assert sorted(seen) == sorted(made)
    assert all_events(database, cursor).cursor == cursor


def test_positions_are_not_given_twice_after_a_deletion(database, service):
    job = service.submit().id
    service.cancel(job)
    cursor = all_events(database).cursor
    service.delete(job)
    other = service.submit().id
    assert [event.data["job"] for event in all_events(database, cursor).items] == [other]


@pytest.mark.parametrize("after", ["", "x", "e30", "WyJqb2JzIiwxLDJd", "W10=", "ä", "A" * 2000, "W1tbW1tb"])
def test_a_cursor_that_was_not_given_is_refused(database, after):
    with database.read() as session, pytest.raises(InvalidQuery):
        history.all_events(session, after, 1)


def test_an_event_of_a_rolled_back_transaction_was_never_there(database, service):
    job = service.submit().id
    with pytest.raises(RuntimeError), database.write() as session:  # noqa: PT012
        note(session, job, "lost")
        raise RuntimeError
    with database.read() as session:
        assert len(of_all(session, (0, 0), 10)) == 1
