"""What a glance says is what the database says; where it cannot tell, it says nothing."""

import sqlite3

import pytest

from app.store.glances import Glances
from tests.support.databases import sqlite_template


def test_a_glance_sees_every_committed_change(database, service):
    job = service.submit().id
    before = database.glances.standing(job)
    service.cancel(job)
    found = (before, database.glances.standing(job))
    assert found == (((1, False), (2, True)) if database.is_sqlite else (None, None))


def test_a_job_that_is_not_there_is_not_known(database):
    assert database.glances.standing("job_none") is None


def test_a_missing_file_is_not_made(tmp_path):
    glances = Glances(f"sqlite:///{tmp_path / 'none.db'}")
    assert glances.standing("job_1") is None
    assert not (tmp_path / "none.db").exists()


def test_a_locked_database_is_not_waited_for_and_looked_at_again_later(tmp_path):
    path = tmp_path / "a % b?.db"
    path.write_bytes(sqlite_template().read_bytes())
    glances = Glances(f"sqlite:///{path}")
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert glances.standing("job_1") is None
    other.close()
    glances.close()


def test_a_glance_cannot_write(database):
    if not database.is_sqlite:
        pytest.skip("there is no connection")
    database.glances.standing("job_1")
    with pytest.raises(sqlite3.OperationalError):
        database.glances._connection.execute("DELETE FROM jobs")
