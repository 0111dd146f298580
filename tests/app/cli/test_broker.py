"""The embedded broker, run for real."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from app.cli import broker
from app.cli.broker import Broker
from app.cli.processes import Child


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A socket's path must be short, and pytest's folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="ty-"))
    yield folder
    shutil.rmtree(folder)


def started(place: Broker, run_dir: Path) -> Child:
    child = Child(broker.command(place, run_dir, dict(os.environ)), run_dir, run_dir)
    child.start()
    while not place.answers():
        assert child.running, child.tail()
        time.sleep(0.02)
    return child


def send(url: str) -> None:
    with Connection(url) as connection, connection.SimpleQueue("trainyard") as queue:
        queue.put({"there is": "work"})


def received(url: str) -> object:
    with Connection(url) as connection, connection.SimpleQueue("trainyard") as queue:
        message = queue.get(timeout=5)
        message.ack()
        return message.payload


def test_a_message_survives_the_death_of_the_broker(short_folder: Path) -> None:
    place = broker.place(short_folder)
    assert place.port == 0
    child = started(place, short_folder)
    send(place.url)
    time.sleep(1.1)  # the append-only file is synced every second
    child.kill()
    child = started(place, short_folder)
    assert received(place.url) == {"there is": "work"}
    child.kill()


def test_a_home_too_long_for_a_socket_gets_a_port_with_a_password(short_folder: Path) -> None:
    folder = short_folder / ("long" * 30)
    folder.mkdir()
    place = broker.place(folder)
    child = started(place, folder)
    send(place.url)
    assert received(place.url) == {"there is": "work"}
    assert not Broker(place.socket_path, place.port, "guessed").answers()
    assert (folder / "broker" / "valkey.conf").stat().st_mode & 0o777 == 0o600
    assert place.password not in " ".join(child.command.arguments)
    child.kill()


def test_nobody_but_its_user_can_open_the_socket(short_folder: Path) -> None:
    place = broker.place(short_folder)
    child = started(place, short_folder)
    assert place.socket_path.stat().st_mode & 0o077 == 0
    child.kill()


def test_a_broker_that_is_not_there_does_not_answer(short_folder: Path) -> None:
    assert not broker.place(short_folder).answers()


def test_a_broker_can_be_told_to_leave_by_its_socket(short_folder: Path) -> None:
    place = broker.place(short_folder)
    child = started(place, short_folder)
    place.say("SHUTDOWN")
    while child.running:
        time.sleep(0.02)
    assert child.ending() == "ended with code 0"
