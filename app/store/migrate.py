"""Brings the database to the tables that this code expects. Works from any folder: no ini file is read."""

import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url

from app.store.session import Database, driver_url, make_engine

LOCK = 7_241_986
"""PostgreSQL's advisory lock: replicas that start together migrate one after the other."""


def upgrade(url: str) -> None:
    """Migrate to the newest tables. Does nothing when they are there already; safe in several processes at once."""
    _migrate(url, lambda config: command.upgrade(config, "head"))


def downgrade(url: str, revision: str) -> None:
    """Undo what was migrated after `revision` ("base": everything). What only newer tables can hold is lost."""
    _migrate(url, lambda config: command.downgrade(config, revision))


def _migrate(url: str, step: Callable[[Config], None]) -> None:
    """One transaction, so that a migration that fails has changed nothing."""
    address = make_url(driver_url(url))
    if address.get_backend_name() == "sqlite" and address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = make_engine(driver_url(url))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _without_foreign_keys)
    try:
        with engine.execution_options(immediate=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            before = _heads(connection)
            step(_config(connection))
            if _heads(connection) != before:  # the check reads every row, so not at every start
                _check_foreign_keys(connection)
    finally:
        engine.dispose()


def _without_foreign_keys(connection: sqlite3.Connection, _record: Any) -> None:
    """SQLite alters a table by dropping its old copy, which would delete every row that refers to it."""
    connection.execute("PRAGMA foreign_keys=OFF").close()


def _check_foreign_keys(connection: Connection) -> None:
    """What SQLite did not check meanwhile. Raises before the commit, so nothing is lost."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(f"the migration would leave {len(broken)} rows that refer to nothing: {broken[:5]}")


def is_current(database: Database) -> bool:
    """Whether the database has exactly the tables of this code: what readiness asks."""
    with database.read() as session:
        return _heads(session.connection()) == expected_heads()


def is_new(database: Database) -> bool:
    """Whether nothing was ever migrated there. Makes no file."""
    path = database.engine.url.database
    if database.is_sqlite and path and not Path(path).exists():
        return True
    with database.read() as session:
        return not _heads(session.connection())


def expected_heads() -> set[str]:
    """The newest migrations that this code knows."""
    return set(ScriptDirectory.from_config(_config()).get_heads())


def _heads(connection: Connection) -> set[str]:
    return set(MigrationContext.configure(connection).get_current_heads())


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
