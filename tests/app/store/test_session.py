"""Transactions: whole or not at all, announced after the commit, and never a 500 when the database is busy or away."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from app.errors import ServiceUnavailable
from app.services import jobs
from app.settings import Settings
from app.store import session as session_module
from app.store.session import Database, after_commit, touched, work_waits
from tests.support.service import Service


def test_changes_are_announced_after_the_commit_and_only_then(database_url, tmp_path):
    told = []
    database = Database(database_url, Settings(home=tmp_path), told.append, lambda: told.append("work"))
    with pytest.raises(RuntimeError), database.write() as session:  # noqa: PT012
        touched(session, "job_x")
        work_waits(session)
        after_commit(session, lambda: told.append("after"))
        raise RuntimeError
    assert told == []
    with database.write() as session:
        touched(session, "job_x")
        work_waits(session)
        after_commit(session, lambda: told.append("after"))
        assert told == []
    assert told == [{"job_x"}, "work", "after"]
    database.close()


def test_whoever_is_told_of_work_finds_it(database, tmp_path):
    """A worker that is nudged asks at once: before the commit it would find nothing, and wait for the next nudge."""
    found = []

    def look() -> None:
        with telling.read() as session:
            found.append(session.execute(text("SELECT count(*) FROM jobs")).scalar_one())

    telling = Database(database.url, database.settings, on_work=look)
    Service(telling).submit()
    telling.close()
    assert found == [1]


def test_what_a_reader_writes_is_not_kept(database, service):
    job = service.submit().id
    with database.read() as session:
        session.execute(text("UPDATE jobs SET name = 'x'"))
    assert service.job(job).name != "x"


def test_a_reader_sees_no_half_of_a_transaction(database, service):
    with database.write() as session:
        jobs.submit(session, service.context, _spec(), None, "x")
        with database.read() as other:
            assert other.execute(text("SELECT count(*) FROM jobs")).scalar() == 0


def _spec():
    from tests.support.service import spec

    return spec()


def test_a_database_that_stays_busy_is_503(tmp_path, monkeypatch, database_url):
    if not database_url.startswith("sqlite"):
        pytest.skip("PostgreSQL has no such lock")
    monkeypatch.setattr(session_module, "BUSY_TIMEOUT_S", 0.1)
    database, other_process = (Database(database_url, Settings(home=tmp_path)) for _ in range(2))
    with other_process.write() as first:
        first.execute(text("SELECT 1"))
        with pytest.raises(ServiceUnavailable), database.write() as second:
            second.execute(text("SELECT 1"))
    with database.write() as third:
        third.execute(text("SELECT 1"))
    database.close()
    other_process.close()


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/none", "sqlite:////proc/none/here.db"])
def test_a_database_that_is_away_is_503(tmp_path, url):
    database = Database(url, Settings(home=tmp_path))
    with pytest.raises(ServiceUnavailable), database.read() as session:
        session.execute(text("SELECT 1"))
    database.close()


def test_sqlite_keeps_what_was_acknowledged(database):
    if not database.is_sqlite:
        pytest.skip("a setting of the server")
    with database.read() as session:
        found = {name: session.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")}
        assert found == {"journal_mode": "wal", "synchronous": 2}
        assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_a_reader_does_not_wait_for_a_writer(database, service):
    service.submit()
    with database.write() as session:
        session.execute(text("UPDATE jobs SET name = 'y'"))
        with database.read() as other:
            assert other.execute(text("SELECT name FROM jobs")).scalar() != "y"


def test_writers_of_one_process_hand_their_turn_on(database):
    """Many at once on SQLite: none is refused, and SQLite itself is never asked while another writes."""
    inside, most = [], []

    def write(number):
        with database.write() as session:
            session.execute(text("SELECT 1"))
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(64)))
    assert len(most) == 64
    assert max(most) == 1 or not database.is_sqlite


def test_a_turn_that_does_not_come_is_503(database, monkeypatch):
    if not database.is_sqlite:
        pytest.skip("it has many writers")
    monkeypatch.setattr(session_module, "BUSY_TIMEOUT_S", 0.1)
    with database.write(), ThreadPoolExecutor(1) as pool:
        refused = pool.submit(lambda: database.write().__enter__())
        with pytest.raises(ServiceUnavailable):
            refused.result()
    with database.write() as session:
        session.execute(text("SELECT 1"))
