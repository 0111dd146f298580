"""The real app over both databases, a client for it, a worker that speaks through its door, and a real server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from app import queue
from app.main import create_app

TOKEN = "token-of-the-tests"
SPEC = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "resnet10t"}}
SHA256 = "a" * 64


@pytest.fixture
def settings(database, tmp_path):
    """Those of the database's fixture, with a token and a short wait for plans."""
    changed = {"worker_token": TOKEN, "dry_run_wait_s": 0.2, "database_url": database.url, "home": tmp_path / "home"}
    return database.settings.model_copy(update=changed)


@pytest.fixture
def make_app(settings) -> Iterator[Any]:
    """Makes apps with other settings; closes them."""
    made = []

    def make(**changed: Any) -> Any:
        made.append(create_app(settings.model_copy(update=changed)))
        return made[-1]

    yield make
    for each in made:
        each.state.database.close()
    queue.disconnect()


@pytest.fixture
def app(make_app):
    """The service, put together but without its background loop."""
    return make_app()


@pytest.fixture
def client(app):
    """Speaks to the app; errors that nobody foresaw are answers, as they are for users."""
    return client_of(app)


def client_of(app: Any) -> TestClient:
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture
def worker(client):
    """A worker that does by hand what worker/ does."""
    return FakeHands(client)


class FakeHands:
    """Speaks the worker's door over HTTP; nothing behind it is replaced."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._seq = 0

    def post(self, path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return self._client.post(f"/internal/v1/{path}", json=body, headers=headers)

    def claim(self, slots: int = 4, task_slots: int = 1) -> Any:
        devices = [{"index": n, "kind": "cpu", "name": "cpu", "memory_bytes": 10**9} for n in range(slots)]
        body = {"id": "w1", "host": "host-1", "devices": devices, "versions": {"torch": "2"}, "task_slots": task_slots}
        answer = self.post("claims", body)
        assert answer.status_code in (200, 204), answer.text
        self._seq = 0
        return answer.json() if answer.status_code == 200 else None

    def start(self, work: Any) -> None:
        answer = self.post(f"jobs/{work['job']}/attempts/{work['attempt']}/start", {"token": work["token"]})
        assert answer.status_code == 204, answer.text

    def report(self, work: Any, *events: dict[str, Any]) -> None:
        lines = []
        for event in events:
            self._seq += 1
            lines.append({"seq": self._seq, "time": "2026-11-21T10:00:00Z", **event})
        body = {"token": work["token"], "events": lines}
        answer = self.post(f"jobs/{work['job']}/attempts/{work['attempt']}/reports", body)
        assert answer.status_code == 200, answer.text

    def metrics(self, work: Any, first: int, last: int, value: Any = 0.5) -> None:
        self.report(
            work, *({"type": "metrics", "step": n, "values": {"train/loss": value}} for n in range(first, last + 1))
        )

    def finish(self, work: Any, outcome: str = "failed", **more: Any) -> Any:
        failed = {"failure": {"code": "diverged", "message": "The loss is not finite."}} if outcome == "failed" else {}
        body = {"token": work["token"], "outcome": outcome, **failed, **more}
        answer = self.post(f"jobs/{work['job']}/attempts/{work['attempt']}/finish", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def finish_task(self, work: Any, **body: Any) -> None:
        answer = self.post(f"tasks/{work['task']}/finish", {"token": work["token"], **body})
        assert answer.status_code == 204, answer.text


@pytest.fixture
def submit(client):
    """Submits a job; returns it as the service shows it."""

    def post(**more: Any) -> dict[str, Any]:
        answer = client.post("/v1/jobs", json=SPEC | more)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return post


@pytest.fixture
def running(submit, worker):
    """A job that a worker holds: (job id, its work)."""
    job = submit()
    work = worker.claim()
    assert work["job"] == job["id"]
    worker.start(work)
    return job["id"], work


@pytest.fixture
def serve(settings, tmp_path):
    """A real uvicorn process for these settings; yields a client and the process."""

    @contextmanager
    def run(**environment: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--fd", str(listener.fileno())]
        log = (tmp_path / "server.log").open("wb")
        process = subprocess.Popen(
            command, env=_environment(settings) | environment, pass_fds=[listener.fileno()], stdout=log, stderr=log
        )
        with listener, log, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            try:
                _wait_until_up(client, process)
                yield client, process
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()

    return run


def _environment(settings: Any) -> dict[str, str]:
    return os.environ | {
        "TRAINYARD_HOME": str(settings.home),
        "TRAINYARD_DATABASE_URL": settings.database_url,
        "TRAINYARD_WORKER_TOKEN": TOKEN,
        "TRAINYARD_LOG_FORMAT": "json",
    }


def _wait_until_up(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not come up")


def sse_messages(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Events of a stream: id, event, data (parsed); comments as {"comment": ...}."""
    message: dict[str, Any] = {}
    for line in lines:
        if line.startswith(":"):
            yield {"comment": line[1:].strip()}
        elif line:
            field, _, value = line.partition(": ")
            message[field] = json.loads(value) if field == "data" else value
        elif message:
            yield message
            message = {}


@pytest.fixture
def messages():
    """Reads Server-Sent Events."""
    return sse_messages


@pytest.fixture
def as_client():
    """A client for an app that a test made."""
    return client_of


@pytest.fixture
def spec():
    """The smallest job spec."""
    return dict(SPEC)
