"""What the tests' own databases promise: each test finds one that is migrated and empty."""

from contextlib import closing

import psycopg
from sqlalchemy import text

from app.settings import Settings
from app.store.session import Database
from tests.support.lending import Lending
from tests.support.service import Service


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


def events(url: str) -> list[int]:
    """Submits a job; the positions of all events."""
    with closing(Database(url, Settings(database_url=url))) as database:
        Service(database).submit()
        with database.read() as session:
            return list(session.execute(text("SELECT position FROM events")).scalars())


def test_the_next_test_gets_the_same_database_empty_and_one_that_was_changed_is_gone(postgres_url: str) -> None:
    lending = Lending(postgres_url)
    with lending.lent() as first, lending.lent() as beside:
        assert first != beside
        begun = events(first)
        left = psycopg.connect(plain(first))  # by a test that does not clean up
    with lending.lent() as second:
        assert second in (first, beside)
    with lending.lent() as again:
        assert again == second
        assert events(again) == begun
        with psycopg.connect(plain(again)) as connection:
            connection.execute("ALTER TABLE jobs RENAME COLUMN state TO elsewhere")
    with lending.lent() as other:
        assert other != again
        assert events(other) == begun
    lending.close()
    left.close()
