"""A PostgreSQL database that many tests use in turn: emptying one takes 5 ms, making and dropping one 200 ms."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Connection, Row, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.support.databases import postgres_database

_LARGEST_BYTES = 24_000_000  # an empty one has 9 MB; dead rows slow down whoever comes next
_TERMINATE = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_FORM = """
SELECT (SELECT string_agg(version_num, ',') FROM alembic_version),
       (SELECT md5(string_agg(concat_ws(' ', relname, attnum, attname, atttypid, attnotnull), ',' ORDER BY oid, attnum))
          FROM pg_attribute JOIN pg_class ON oid = attrelid WHERE relnamespace = 'public'::regnamespace),
       (SELECT count(*) FROM pg_trigger),
       (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
       (SELECT count(*) FROM pg_db_role_setting)
"""
_HOW_TO_EMPTY = """
SELECT 'SET session_replication_role = replica; '  -- no foreign key is checked meanwhile: any order will do
    || (SELECT string_agg(format('DELETE FROM %I; ', tablename), '')
          FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version')
    || (SELECT string_agg(format('ALTER SEQUENCE %I RESTART; ', sequencename), '')
          FROM pg_sequences WHERE schemaname = 'public')
"""


class Lending:
    """Lends migrated, empty databases of a server. One that comes back in another form, or large, is dropped."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._kept: tuple[ExitStack, str, Row] | None = None

    @contextmanager
    def lent(self) -> Iterator[str]:
        """One for the caller alone; yields its URL. Who is still connected behind it is thrown out."""
        stack, url, form = self._kept or self._made()
        self._kept = None
        try:
            yield url
        finally:
            if self._kept is None and _emptied(url, form):
                self._kept = stack, url, form
            else:
                stack.close()

    def close(self) -> None:
        """Drop what is kept."""
        if self._kept:
            self._kept[0].close()

    def _made(self) -> tuple[ExitStack, str, Row]:
        stack = ExitStack()
        url = stack.enter_context(postgres_database(self._server_url))
        with _connected(url) as connection:
            return stack, url, connection.execute(text(_FORM)).one()


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _emptied(url: str, form: Row) -> bool:
    """Whether it is as it was made."""
    try:
        with _connected(url) as connection:
            connection.execute(text(_TERMINATE))
            if connection.execute(text(_FORM)).one() != form:
                return False
            connection.exec_driver_sql(connection.execute(text(_HOW_TO_EMPTY)).scalar_one())
            return connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one() < _LARGEST_BYTES
    except SQLAlchemyError:  # whatever the test did to it
        return False
