"""The environment of the api image, really installed: small, and enough for the service on both databases."""

import json
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.deploy.stack import UP_S, until
from tests.deploy.test_dockerfile import NOT_IN_THE_API
from tests.support.databases import empty_postgres_database
from tests.support.programs import Program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LARGEST_BYTES = 400_000_000  # 161 MB on x86-64; torch alone would be more than all of this


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'trainyard.db'}"
    else:
        with empty_postgres_database(request.getfixturevalue("postgres_url")) as url:
            yield url


def program(slim: Path, tmp_path: Path, *arguments: str, **settings: str) -> Program:
    environment = {"PATH": f"{slim}:{os.environ['PATH']}", "TRAINYARD_HOME": str(tmp_path / "home"), **settings}
    return Program([str(slim / "trainyard"), *arguments], environment, tmp_path, "trainyard")


def test_no_torch_and_no_numpy_is_in_it(slim):
    packages = slim.parent.glob("lib/python3*/site-packages/*.dist-info")
    found = {path.name.partition("-")[0].replace("_", "-").lower() for path in packages}
    assert {"trainyard", "fastapi", "psycopg"} <= found
    assert not found & NOT_IN_THE_API
    assert sum(path.lstat().st_size for path in slim.parent.rglob("*") if not path.is_symlink()) < LARGEST_BYTES


def test_it_starts_migrates_and_answers(slim, tmp_path, empty_database_url):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    api = program(slim, tmp_path, "api", "--port", str(port), TRAINYARD_DATABASE_URL=empty_database_url)
    api.start()
    try:

        def status(path: str) -> int:
            try:
                return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code
            except httpx.TransportError:
                return 0

        until(lambda: status("/healthz") == 200, UP_S, api.output)
        assert status("/readyz") == 503
        done = api.run(str(slim / "trainyard"), "db", "upgrade", "--json")
        assert json.loads(done.stdout) == {"upgraded": True}, done.stderr
        until(lambda: status("/readyz") == 200, UP_S, api.output)
        assert status("/v1/catalog") == 200
    finally:
        api.kill()


def test_it_backs_up_and_says_what_a_worker_needs(slim, tmp_path):
    (tmp_path / "home").mkdir()
    yard = program(slim, tmp_path)
    yard.run(str(slim / "trainyard"), "db", "upgrade")
    assert yard.run(str(slim / "trainyard"), "db", "backup", str(tmp_path / "copy.db")).returncode == 0
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    worker = yard.run(str(slim / "trainyard"), "worker")
    assert worker.returncode == 1
    assert "pip install 'trainyard[worker]'" in worker.stderr
