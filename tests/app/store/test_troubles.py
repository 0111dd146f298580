"""A database that is full or lacks its tables says so over HTTP: what is wrong, and what to do."""

import pytest
from sqlalchemy import event, text

FULL = "urn:trainyard:problem:storage-full"
TABLES = "urn:trainyard:problem:tables-missing"


@pytest.fixture
def full(database, app):
    """Lets the database run out of room: SQLite's own limit on pages, PostgreSQL's own error from a trigger."""

    def fill():
        if database.is_sqlite:
            engine = app.state.database.engine
            event.listen(engine, "connect", lambda each, _: each.execute("PRAGMA max_page_count=1").close())
            engine.dispose()
        else:
            _refuse_writes(database)

    return fill


def _refuse_writes(database):
    raising = "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '53100'; END $$"
    with database.write() as session:
        session.execute(text(raising))
        for table in ("jobs", "upkeep_marks"):
            statement = f"CREATE TRIGGER full_{table} BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION fill()"
            session.execute(text(statement))


def said(answer, type_):
    assert (answer.status_code, answer.json()["type"]) == (503, type_), answer.text
    assert int(answer.headers["retry-after"]) >= 1
    return answer.json()["detail"]


def test_a_full_disk_is_named_by_submits_and_jobs_can_still_be_read(client, submit, full, spec):
    job = submit()
    full()
    big = {"name": "x" * 200, "labels": {f"k{n}": "y" * 200 for n in range(60)}}
    for _ in range(3):  # what is left of the last page may hold a row
        answer = client.post("/v1/jobs", json=spec | big)
    assert "disk" in said(answer, FULL)
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 200


def test_a_service_whose_disk_is_full_is_not_ready(client, database, full):
    if database.is_sqlite:
        pytest.skip("a limit on pages does not refuse the one row of readiness; a full disk does")
    assert client.get("/readyz").status_code == 200
    full()
    assert "disk" in said(client.get("/readyz"), FULL)


def test_missing_tables_name_the_command_that_makes_them(app, client, spec):
    with app.state.database.write() as session:
        session.execute(text("ALTER TABLE jobs RENAME TO elsewhere"))
    for answer in (client.get("/v1/jobs"), client.post("/v1/jobs", json=spec), client.get("/v1/jobs/job_1")):
        assert "trainyard db upgrade" in said(answer, TABLES)


def test_a_missing_column_names_it_too(app, client):
    with app.state.database.write() as session:
        session.execute(text("ALTER TABLE workers RENAME COLUMN versions TO elsewhere"))
    assert "trainyard db upgrade" in said(client.get("/v1/workers"), TABLES)
