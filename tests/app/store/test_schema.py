"""The tables of the code, those of the migrations, and what becomes of data between them, on both databases."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect, text

from app.contract.datasets import DatasetSource, DatasetSpec
from app.services import datasets, housekeeping
from app.store import migrate
from app.store.session import Database, make_engine
from app.store.tables import metadata
from tests.support import databases
from tests.support.service import FACTS, SHA256, checkpoint, metrics, worker

ARTIFACT = {"name": "model.safetensors", "path": "artifacts/model.safetensors", "size_bytes": 3, "sha256": SHA256}
COUNTED = {"dataset_names"}
"""Filled by the migration, from what other tables hold."""
LOST = {"check_number"}
"""What only newer tables can hold: where the table of a data set's files lies."""
NOT_FILLED = {"api_keys"}
"""Made on the command line; no other row hangs on them."""


@pytest.fixture
def empty_url(database, tmp_path, request):
    """A database of the same kind without any table."""
    with ExitStack() as stack:
        if database.is_sqlite:
            yield f"sqlite:///{tmp_path / 'new' / 'empty.db'}"
        else:
            server = request.getfixturevalue("postgres_url")
            yield stack.enter_context(databases.empty_postgres_database(server))


def shape(engine):
    """All that a database says of its tables, one line a fact."""
    facts = []
    inspected = inspect(engine)
    for table in metadata.tables:
        ask = {
            "column": inspected.get_columns, "unique": inspected.get_unique_constraints,
            "index": inspected.get_indexes, "refers": inspected.get_foreign_keys,
            "check": inspected.get_check_constraints,
        }  # fmt: skip
        for kind, question in ask.items():
            facts += [f"{table} {kind} {_plain(fact)}" for fact in question(table)]
        facts.append(f"{table} key {_plain(inspected.get_pk_constraint(table))}")
    return sorted(facts + _storage(engine))


def _plain(fact):
    return " ".join(f"{name}={_said(value)}" for name, value in sorted(fact.items(), key=str))


def _said(value):
    """SQLite's conditions of an index are objects without a text of their own."""
    if isinstance(value, dict):
        return str({name: str(each) for name, each in value.items()})
    return " ".join(repr(value).split())


def _storage(engine):
    """What SQLAlchemy does not ask SQLite for."""
    if engine.dialect.name != "sqlite":
        return []
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).all()
    words = ("WITHOUT ROWID", "AUTOINCREMENT", "DEFERRABLE INITIALLY DEFERRED")
    return [f"{row.name} {word}" for row in rows for word in words if word in (row.sql or "").upper()]


def test_migrations_make_exactly_what_the_models_say(database, empty_url, tmp_path):
    (tmp_path / "new").mkdir()
    engine = make_engine(empty_url)
    metadata.create_all(engine)
    from_models, migrated = shape(engine), shape(database.engine)
    engine.dispose()
    assert len(from_models) > 200
    assert sorted(set(migrated) ^ set(from_models)) == []


@pytest.fixture
def filled(service, database, pass_time):
    """Rows in every table, made by the service itself."""
    folder = database.settings.roots[0] / "pets"
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.png").touch()
    with database.write() as session:
        made = DatasetSpec(name="pets", source=DatasetSource(path="pets"))
        dataset = datasets.add(session, service.context, made)
    service.finish_task(service.claim(worker(task_slots=1)), result=FACTS)
    done, work = service.running(labels={"team": "a"}, dataset={"kind": "registered", "id": dataset.id})
    service.report(work, metrics(1, 0.5), metrics(2, float("nan")), metrics(11, 1.5), checkpoint(2))
    service.finish(work, artifacts=[ARTIFACT])
    _, work = service.running()
    service.finish(work, "failed", "diverged")
    service.cancel(service.submit().id)
    service.submit(key="once")
    service.running(worker("w2"), priority=1)
    assert service.claim(worker("w2")) is not None
    service.submit()
    with database.write() as session:
        housekeeping.is_nudge_due(session)
    return done


def contents(database):
    """All rows of all tables that are there."""
    with database.read() as session:
        names = set(inspect(session.connection()).get_table_names()) & set(metadata.tables)
        rows = {name: session.execute(text(f"SELECT * FROM {name}")).mappings().all() for name in names}
    return {name: sorted((dict(row) for row in found), key=str) for name, found in rows.items()}


def move(database, step, revision):
    """Migrate to a revision, in one transaction. SQLite must not follow the keys of a table that it copies."""
    engine = make_engine(database.url)
    if database.is_sqlite:
        event.listen(engine, "connect", lambda made, _: made.execute("PRAGMA foreign_keys=OFF").close())
    with engine.execution_options(immediate=True).begin() as connection:
        step(migrate._config(connection), revision)
    engine.dispose()


def test_rows_survive_every_migration_down_and_up_again(filled, service, database):
    before = contents(database)
    assert {name for name, rows in before.items() if not rows} <= NOT_FILLED
    assert len(before) >= 16
    revisions = list(ScriptDirectory.from_config(migrate._config()).walk_revisions())
    assert len(revisions) >= 3
    for revision in revisions[:-1]:
        move(database, command.downgrade, revision.down_revision)
        _still_there(before, contents(database))
    left = set(contents(database))
    move(database, command.upgrade, "head")
    after = contents(database)
    _still_there(before, {name: after[name] for name in left})
    assert {name for name in set(after) - left if after[name]} == COUNTED, "what was dropped is empty"
    assert {"jobs", "attempts", "datasets", "idempotency_keys", "job_labels", "reservations", "workers"} <= left
    assert service.job(filled).state == "succeeded"
    service.finish(service.claim(worker("w3")), "released")
    assert migrate.is_current(database)


def _still_there(before, after):
    for name, rows in after.items():
        columns = set(rows[0]) & set(before[name][0]) - LOST if rows and before[name] else set()
        assert _cut(rows, columns) == _cut(before[name], columns), name
        assert len(rows) == len(before[name]), name


def _cut(rows, columns):
    return sorted(({name: row[name] for name in columns} for row in rows), key=lambda row: str(sorted(row.items())))


def test_replicas_that_start_together_migrate_once(database, empty_url):
    command_line = [sys.executable, "-m", "app.cli", "db", "upgrade"]
    environment = os.environ | {"TRAINYARD_DATABASE_URL": empty_url}
    started = [
        subprocess.Popen(command_line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(4)
    ]
    ends = [(process.communicate()[0].decode(), process.returncode) for process in started]
    assert [code for _, code in ends] == [0, 0, 0, 0], ends
    made = Database(empty_url, database.settings)
    assert migrate.is_current(made)
    assert shape(made.engine) == shape(database.engine)
    made.close()
