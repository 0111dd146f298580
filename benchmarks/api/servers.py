"""The servers that are measured, each a process of its own, with its CPU time and its memory."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from app.cli import broker
from benchmarks.api.client import request, run

START_S = 120.0
SAMPLE_S = 0.2
TOKEN = "token-of-the-benchmark"


class Server:
    """A running server: where it listens, what it has used so far."""

    def __init__(self, name: str, port: int, pid: int) -> None:
        self.name = name
        self.port = port
        self._process = psutil.Process(pid)
        self.peak_rss_bytes = 0

    def cpu_s(self) -> float:
        """CPU time of the process and its children so far: on a busy machine it tells more than the clock."""
        return sum(each.user + each.system for each in self._of_all("cpu_times"))

    def rss_bytes(self) -> int:
        """Resident memory of the process and its children."""
        return sum(each.rss for each in self._of_all("memory_info"))

    def _of_all(self, what: str) -> Iterator[object]:
        for process in [self._process, *self._process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                yield getattr(process, what)()

    def watch(self, stop: threading.Event) -> None:
        """Note the highest memory until `stop`."""
        while not stop.wait(SAMPLE_S):
            with suppress(psutil.NoSuchProcess):
                self.peak_rss_bytes = max(self.peak_rss_bytes, self.rss_bytes())


@contextmanager
def trainyard(home: Path) -> Iterator[Server]:
    """The service as `trainyard serve` runs it, with its broker and without a worker, which would take the jobs."""
    run_dir = home / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    place = broker.place(run_dir)
    environment = _clean_environment() | {
        "TRAINYARD_HOME": str(home),
        "TRAINYARD_BROKER_URL": place.url,
        "TRAINYARD_WORKER_TOKEN": TOKEN,
        "TRAINYARD_LEASE_S": "3600",  # nobody sends heartbeats here
    }
    command = broker.command(place, run_dir, environment)
    with (
        _running(list(command.arguments), home / "broker.log", environment),
        _listening([sys.executable, "-m", "app.cli", "api", "--upgrade", "--fd"], home / "api.log", environment) as at,
        _watched("trainyard", *at, "/readyz") as server,
    ):
        yield server


@contextmanager
def bare(folder: Path) -> Iterator[Server]:
    """A FastAPI app with nothing around it, under the same uvicorn."""
    command = [sys.executable, "-m", "benchmarks.api.bare"]
    with (
        _listening(command, folder / "bare.log", _clean_environment()) as at,
        _watched("bare", *at, "/bytes/job_1") as server,
    ):
        yield server


@contextmanager
def mlflow(python: Path, folder: Path) -> Iterator[Server]:
    """MLflow's tracking server with its SQLite store, as its documentation starts it, with one worker process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = f"sqlite:///{folder / 'mlflow.db'}"
    command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    with (
        _running(command, folder / "mlflow.log", _clean_environment()) as process,
        _watched("mlflow", port, process.pid, "/health") as server,
    ):
        yield server


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("TRAINYARD_", "MLFLOW_"))}


@contextmanager
def _listening(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    """A process that inherits its socket; yields (port, pid)."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        descriptor = listener.fileno()
        with _running([*command, str(descriptor)], log, environment, (descriptor,)) as process:
            yield listener.getsockname()[1], process.pid


@contextmanager
def _running(
    command: list[str], log: Path, environment: dict[str, str], descriptors: tuple[int, ...] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, pass_fds=descriptors)
        try:
            yield process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


@contextmanager
def _watched(name: str, port: int, pid: int, ready_path: str) -> Iterator[Server]:
    """A server that answers, its memory sampled in a thread."""
    server, stop = Server(name, port, pid), threading.Event()
    _wait_until_ready(port, ready_path)
    thread = threading.Thread(target=server.watch, args=(stop,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join()


def _wait_until_ready(port: int, path: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError, SystemExit):
            run(port, [request("GET", path)], connections=1).expect(200)
            return
        time.sleep(0.1)
    raise SystemExit(f"benchmarks api: nothing answers on port {port}")
