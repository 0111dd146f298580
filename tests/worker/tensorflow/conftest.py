"""One process with TensorFlow for all of these tests."""

from collections.abc import Iterator

import pytest

from tests.support.beside import Beside, started


@pytest.fixture(scope="package")
def beside() -> Iterator[Beside]:
    """Whoever asks for another precision there puts fp32 back."""
    with started() as process:
        yield process
