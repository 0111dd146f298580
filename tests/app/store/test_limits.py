"""Nothing holds the database for ever: what is stuck is ended, whoever waits gets a 503, and all goes on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text, update
from sqlalchemy.engine import make_url

from app.errors import ServiceUnavailable
from app.store import session as session_module
from app.store.session import Database, make_engine
from app.store.tables import jobs


@pytest.fixture
def other(database, monkeypatch):
    """Another service on the same PostgreSQL, with limits that a test can wait for."""
    if database.is_sqlite:
        pytest.skip("SQLite is one file on one host: its locks end with the process, and none waits on a network")
    made = []

    def make(**limits):
        monkeypatch.setattr(session_module, "LIMITS", session_module.LIMITS | limits)
        made.append(Database(database.url, database.settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def rename(session, job, name):
    return session.execute(update(jobs).where(jobs.c.id == job).values(name=name))


def test_a_service_that_froze_inside_a_transaction_gives_its_rows_back(service, database, other):
    job = service.submit().id
    frozen = other(idle_in_transaction_session_timeout="200ms")
    with pytest.raises(ServiceUnavailable), frozen.write() as held:  # noqa: PT012
        rename(held, job, "half")
        assert service.patch(job, {"name": "whole"}).name == "whole"
        rename(held, job, "more")
    assert service.job(job).name == "whole"
    with frozen.write() as again:
        assert rename(again, job, "after").rowcount == 1


def test_a_commit_of_a_service_that_froze_is_not_taken_for_done(service, other):
    job = service.submit().id
    frozen = other()
    with pytest.raises(ServiceUnavailable, match="See whether the change is there"), frozen.write() as held:  # noqa: PT012
        rename(held, job, "half")
        backend = held.execute(text("SELECT pg_backend_pid()")).scalar()
        with service.database.read() as session:
            assert session.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": backend}).scalar()
    assert service.job(job).name != "half"


@pytest.mark.parametrize(("limit", "statement"), [
    ("lock_timeout", "UPDATE jobs SET name = 'second'"), ("statement_timeout", "SELECT pg_sleep(100)"),
])  # fmt: skip
def test_what_takes_too_long_is_503_and_changes_nothing(service, database, other, limit, statement):
    job = service.submit().id
    waiting = other(**{limit: "200ms"})
    with database.write() as first:
        rename(first, job, "first")
        with pytest.raises(ServiceUnavailable, match="took too long"), waiting.write() as second:
            second.execute(text(statement))
    assert service.job(job).name == "first"


def test_of_two_changes_that_wait_for_each_other_one_is_503_and_one_is_done(service, database, other):
    del other
    left, right = service.submit().id, service.submit().id
    both_hold = threading.Barrier(2)

    def change(mine, its):
        try:
            with database.write() as session:
                rename(session, mine, "x")
                both_hold.wait()
                rename(session, its, "x")
        except ServiceUnavailable as error:
            return error.detail
        return "done"

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(change, (left, right), (right, left)))
    assert sorted(ends) == ["Another change was in the way of this one. Nothing was changed: ask again.", "done"]
    assert {service.job(left).name, service.job(right).name} == {"x"}


def test_an_operators_own_options_count_and_migrations_have_no_limits(database, other):
    other()
    url = make_url(database.url).update_query_dict({"options": "-c statement_timeout=7s"})
    own = Database(url.render_as_string(hide_password=False), database.settings)
    with own.read() as session:
        found = {name: session.execute(text(f"SHOW {name}")).scalar() for name in session_module.LIMITS}
        sent = session.connection().connection.dbapi_connection.info.get_parameters()
    own.close()
    assert found == {**session_module.LIMITS, "statement_timeout": "7s"}
    assert {name: int(sent[name]) for name in session_module.KEEPALIVE} == session_module.KEEPALIVE
    engine = make_engine(database.url)
    with engine.connect() as connection:
        assert {connection.execute(text(f"SHOW {name}")).scalar() for name in session_module.LIMITS} == {"0"}
    engine.dispose()


def test_when_all_connections_are_in_use_it_is_503_and_then_all_is_well(service, database, monkeypatch):
    for name, value in {"POOL_SIZE": 1, "POOL_OVERFLOW": 1, "BUSY_TIMEOUT_S": 0.1}.items():
        monkeypatch.setattr(session_module, name, value)
    small = Database(database.url, database.settings)
    with small.read() as first, small.read() as second:
        for session in (first, second):
            session.execute(text("SELECT 1"))
        with pytest.raises(ServiceUnavailable, match="in use"), small.read() as third:
            third.execute(text("SELECT 1"))
    with small.write() as session:
        assert session.execute(text("SELECT 1")).scalar() == 1
    small.close()
