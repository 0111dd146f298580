"""One yard a database, for all crossings of a test process."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults import places
from tests.faults.yard import Yard


@contextmanager
def yard_on(kind: str) -> Iterator[Yard]:
    """A yard that works, on a database of this kind, with disks of its own."""
    places.remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{places.PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        disks = [stack.enter_context(places.disk(folder / name)) for name in places.DISKS]
        store = stack.enter_context(places.store(kind, folder / "home"))
        yard = Yard(folder, store, disks)
        stack.callback(yard.close)
        yard.until(lambda: (answer := yard.call("GET", "/v1/workers")) and answer.json()["items"], "a worker is there")
        yield yard


class Yards:
    """Made when a test first needs one, and made anew after a test that failed."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[ExitStack, Yard]] = {}

    def on(self, kind: str) -> Yard:
        if kind in self._made and self._made[kind][1].spoilt:
            self._made.pop(kind)[0].close()
        if kind not in self._made:
            stack = ExitStack()
            self._made[kind] = (stack, stack.enter_context(yard_on(kind)))
        return self._made[kind][1]

    def close(self) -> None:
        for stack, _ in self._made.values():
            stack.close()


@pytest.fixture(scope="session")
def yards() -> Iterator[Yards]:
    made = Yards()
    yield made
    made.close()


@pytest.fixture
def sqlite_yard(yards: Yards) -> Yard:
    """A whole service on SQLite."""
    return yards.on("sqlite")


@pytest.fixture(params=["sqlite", "postgresql"])
def yard(request: pytest.FixtureRequest, yards: Yards) -> Yard:
    """A whole service on SQLite, and one on PostgreSQL."""
    return yards.on(request.param)
