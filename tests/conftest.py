"""What all tests share: real databases, migrated by the real migrations."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.settings import Settings
from app.store.session import Database
from tests.support import databases
from tests.support.lending import Lending
from tests.support.service import Service

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that: Ctrl-C is tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Read when torch is loaded. Tests run several at a time and compute little: threads of their own would mostly wait for
# one another, and OpenMP's wait by spinning. On 2 busy cores a small network's SVDs took 4.5 s of CPU time, not 0.3 s.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Also behind a test that asked torch for more."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test keeps decoded images in the home of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINYARD_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for the session, started when the first test needs it."""
    with databases.postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def _lending(postgres_url) -> Iterator[Lending]:
    made = Lending(postgres_url)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> Iterator[str]:
    """A migrated, empty database: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "database" / "trainyard.db"
        path.parent.mkdir()
        shutil.copyfile(databases.sqlite_template(), path)
        yield f"sqlite:///{path}"
    else:
        with request.getfixturevalue("_lending").lent() as url:
            yield url


@pytest.fixture
def database(database_url, tmp_path) -> Iterator[Database]:
    """The way to that database, with settings whose folders are the test's own."""
    settings = Settings(home=tmp_path / "home", database_url=database_url, worker_token="token-of-the-tests")
    with ExitStack() as stack:
        made = Database(database_url, settings)
        stack.callback(made.close)
        yield made


@pytest.fixture
def pass_time(database):
    """Lets so many seconds pass, as far as the database can tell."""
    return lambda seconds: databases.pass_time(database, seconds)


@pytest.fixture
def service(database) -> Service:
    """The services over that database, one transaction a call."""
    return Service(database)


@pytest.fixture
def statements_of():
    """Records the statements that a database executes inside a `with`."""
    return databases.statements_of
