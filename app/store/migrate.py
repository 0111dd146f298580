"""Brings the database to the tables that this code expects. Works from any folder: no ini file is read."""

from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from app.store.session import Database, driver_url, make_engine

LOCK = 7_241_986
"""PostgreSQL's advisory lock: replicas that start together migrate one after the other."""


def upgrade(url: str) -> None:
    """Migrate to the newest tables. Does nothing when they are there already; safe in several processes at once."""
    address = make_url(driver_url(url))
    if address.get_backend_name() == "sqlite" and address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = make_engine(driver_url(url))
    try:
        with engine.execution_options(immediate=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            command.upgrade(_config(connection), "head")
    finally:
        engine.dispose()


def is_current(database: Database) -> bool:
    """Whether the database has exactly the tables of this code: what readiness asks."""
    with database.read() as session:
        return set(MigrationContext.configure(session.connection()).get_current_heads()) == expected_heads()


def expected_heads() -> set[str]:
    """The newest migrations that this code knows."""
    return set(ScriptDirectory.from_config(_config()).get_heads())


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
