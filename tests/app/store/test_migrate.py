"""Migrations lead to exactly the tables of the code, on both databases."""

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect

from app.settings import Settings
from app.store import metric_tables, migrate
from app.store.session import Database
from app.store.tables import metadata
from app.store.types import Json, Time


def test_the_migrated_database_has_exactly_the_tables_of_the_code(database):
    assert metric_tables.metric_points.name in metadata.tables
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": _same_type})
        assert compare_metadata(context, metadata) == []


def _same_type(_context, _inspected, column, _found_type, expected):
    """Ours are stored as another type; that of all others is compared by Alembic."""
    return False if isinstance(expected, Time | Json) else None


def test_every_check_of_the_code_is_in_the_database(database):
    inspected = inspect(database.engine)
    expected = {
        str(check.name) for table in metadata.tables.values() for check in table.constraints if _is_check(check)
    }
    found = {str(check["name"]) for table in metadata.tables for check in inspected.get_check_constraints(table)}
    assert len(expected) >= 25
    assert expected <= found


def _is_check(constraint):
    return isinstance(constraint, CheckConstraint)


def test_a_migrated_database_is_current_and_an_empty_one_is_not(database, tmp_path):
    assert migrate.is_current(database)
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    empty = Database(url, Settings(home=tmp_path))
    assert not migrate.is_current(empty)
    empty.close()


def test_migrating_again_changes_nothing(database, database_url):
    migrate.upgrade(database_url)
    assert migrate.is_current(database)


def test_every_migration_can_be_undone(database):
    with database.engine.execution_options(immediate=True).begin() as connection:
        command.downgrade(migrate._config(connection), "base")
    with database.engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version", "sqlite_sequence"}


@pytest.mark.parametrize("folder", ["/", "tmp"])
def test_migrations_are_found_from_any_folder(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path if folder == "tmp" else folder)
    migrate.upgrade(f"sqlite:///{tmp_path / 'here.db'}")
