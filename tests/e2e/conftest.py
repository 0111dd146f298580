"""A whole service in a folder of its own, for the tests of this folder."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.place import Api, Place


@pytest.fixture(scope="session")
def new_place() -> Iterator[Callable[..., Place]]:
    """Makes places; a socket's path must be short, so they lie in the system's temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="ty-"))
    places: list[Place] = []

    def make(**settings: str) -> Place:
        places.append(Place(folder / f"home{len(places)}", **settings))
        return places[-1]

    yield make
    for place in places:
        place.clean()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def place(new_place: Callable[..., Place]) -> Place:
    """A place that serves."""
    made = new_place()
    made.start()
    return made


@pytest.fixture
def api(place: Place) -> Api:
    """The API of the place that serves."""
    return Api(place)
