"""What the images would hold, made on this machine: the environment of the api image, and a whole stack around it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import dockerfile
from tests.deploy.stack import Stack
from tests.support.databases import empty_postgres_database


@pytest.fixture(scope="session")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of the api image's environment, installed by the Dockerfile's own steps."""
    return dockerfile.build("build-api", tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def stack(slim: Path, postgres_url: str) -> Iterator[Stack]:
    """The services of the compose file as processes, all of them up."""
    folder = Path(tempfile.mkdtemp(prefix="ty-stack-"))
    with empty_postgres_database(postgres_url) as url:
        made = Stack(folder, slim, url)
        try:
            made.up()
            yield made
        finally:
            made.down()
            shutil.rmtree(folder, ignore_errors=True)
