"""Migrations lead to exactly the tables of the code, on both databases."""

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, select

from app.settings import Settings
from app.store import dataset_tables, key_tables, metric_tables, migrate
from app.store.session import Database
from app.store.tables import job_labels, metadata
from app.store.types import Json, Time
from tests.support.service import checkpoint, metrics, worker


def test_the_migrated_database_has_exactly_the_tables_of_the_code(database):
    assert {dataset_tables.datasets.name, metric_tables.metric_points.name, key_tables.api_keys.name} <= set(
        metadata.tables
    )
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


def contents(database):
    """Every row of every table."""
    with database.engine.connect() as connection:
        return {
            table.name: sorted(map(str, connection.execute(select(table))))
            for table in metadata.tables.values()
            if inspect(connection).has_table(table.name)
        }


def definitions(database):
    """What else the tables have: indexes with their conditions, and where rows of other tables must exist."""
    inspected = inspect(database.engine)
    indexes = [
        f"{index['name']} {index['column_names']} {sorted(map(str, index['dialect_options'].values()))}"
        for table in metadata.tables
        for index in inspected.get_indexes(table)
    ]
    keys = [str(key) for table in metadata.tables for key in inspected.get_foreign_keys(table)]
    assert any("state = 'queued'" in each for each in indexes)
    return sorted(indexes), sorted(keys)


def test_rows_survive_the_way_down_and_up_again(service, database, database_url):
    _, work = service.running(labels={"team": "vision"})
    service.report(work, checkpoint(), metrics(1, 0.5))
    service.finish(work)
    service.running()
    before, shape = contents(database), definitions(database)
    assert all(before[name] for name in ("jobs", "events", "attempts", "job_labels", "checkpoints", "metric_points"))
    migrate.downgrade(database_url, "0003")
    assert "api_keys" not in inspect(database.engine).get_table_names()
    migrate.upgrade(database_url)
    assert contents(database) == before
    assert definitions(database) == shape


def test_what_is_paused_is_queued_by_a_version_that_knows_no_pause(service, database, database_url):
    held, _ = service.running()
    service.pause(held)
    paused = service.submit(labels={"team": "vision"}).id
    service.pause(paused)
    migrate.downgrade(database_url, "0003")
    migrate.upgrade(database_url)
    assert (service.job(held).state, service.job(held).stop_requested) == ("running", None)
    assert service.job(paused).state == "queued"
    assert service.claim(worker("w2")).job == paused
    with database.read() as session:
        assert session.execute(select(job_labels.c.state)).scalars().all() == ["starting"]


def test_a_migration_that_would_leave_rows_without_their_job_is_undone(service, database, database_url):
    if not database.is_sqlite:
        pytest.skip("PostgreSQL checks foreign keys itself, in the midst of a migration too")
    service.submit()
    migrate.downgrade(database_url, "0003")
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("UPDATE events SET job_id = 'job_gone'")
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        connection.exec_driver_sql("BEGIN")
    with pytest.raises(RuntimeError, match="refer to nothing"):
        migrate.upgrade(database_url)
    assert not migrate.is_current(database)


@pytest.mark.parametrize("folder", ["/", "tmp"])
def test_migrations_are_found_from_any_folder(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path if folder == "tmp" else folder)
    migrate.upgrade(f"sqlite:///{tmp_path / 'here.db'}")
