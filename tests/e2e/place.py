"""A whole service in a folder of its own: real broker, worker, ranks; leases short, so that losses are noticed soon."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ENVIRONMENT = {
    "TRAINYARD_LEASE_S": "4",
    "TRAINYARD_HEARTBEAT_S": "1",
    "TRAINYARD_UPKEEP_S": "1",
    "TRAINYARD_NUDGE_AFTER_S": "2",
    "TRAINYARD_STOP_GRACE_S": "10",
    "TRAINYARD_IDLE_ASK_S": "2",
    "TRAINYARD_WORKER_SLOTS": "2",
    "TRAINYARD_WORKER_ID": "e2e",
}
START_S = 180.0
JOB_S = 400.0
POLL_S = 0.1
FINAL = {"succeeded", "failed", "cancelled"}
LEFT_BEHIND = (
    "app.cli", "celery", "valkey-server", "worker.supervisor", "worker.training", "worker.tensorflow", "worker.warm",
)  # fmt: skip


class Place:
    """A home and the `trainyard serve` on it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.log = home.with_suffix(".log")
        self.settings = settings
        self._serve: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of all processes here."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
        return own | ENVIRONMENT | self.settings | {"TRAINYARD_HOME": str(self.home)}

    def command(self, *arguments: str, check: bool = False, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
        """Run `trainyard ...` here."""
        whole = [sys.executable, "-m", "app.cli", *arguments]
        return subprocess.run(
            whole, env=self.environment, capture_output=True, text=True, check=check, timeout=timeout_s
        )

    def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Start `serve`, and wait until it listens. Port 0: a free one."""
        before = self.output().count("listening on")
        with self.log.open("ab") as log:
            arguments = [sys.executable, "-m", "app.cli", "serve", "--host", host, "--port", str(port)]
            self._serve = subprocess.Popen(
                arguments, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(lambda: self.output().count("listening on") > before or self._serve_ended(), START_S)
        assert not self._serve_ended(), self.output()

    def stop(self, number: signal.Signals = signal.SIGINT) -> float:
        """Signal `serve` and wait for its end; how many seconds that took."""
        assert self._serve
        begun = time.monotonic()
        self._serve.send_signal(number)
        self._serve.wait(60)
        self._serve = None
        return time.monotonic() - begun

    def output(self) -> str:
        """What all runs of `serve` printed."""
        return self.log.read_text() if self.log.exists() else ""

    @property
    def url(self) -> str:
        """Where the API listens now."""
        return str(json.loads((self.home / "run" / "api.json").read_text())["url"])

    def processes(self) -> dict[int, str]:
        """Everything of this home that runs, by its environment, as command lines."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and self._is_ours(folder):
                found[int(folder.name)] = command_line(folder)
        return found

    def clean(self) -> None:
        """End whatever a failed test left."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if self._serve:
            self._serve.wait()

    def _serve_ended(self) -> bool:
        return self._serve is None or self._serve.poll() is not None

    def _is_ours(self, folder: Path) -> bool:
        """Training programs do not know the home, but their command lines name files in it."""
        try:
            needle = str(self.home).encode()
            line = (folder / "cmdline").read_bytes()
            known = needle in line or b"TRAINYARD_HOME=" + needle in (folder / "environ").read_bytes().split(b"\0")
            return known and any(name.encode() in line for name in LEFT_BEHIND)
        except OSError:
            return False


class Api:
    """The public API over HTTP, as a user would call it; finds it again after a restart."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request; any answer."""
        with httpx.Client(base_url=self._place.url, timeout=60, trust_env=False) as client:
            return client.request(method, path, **options)

    def get(self, path: str, **options: Any) -> Any:
        """A JSON document that must be there."""
        response = self.call("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def submit(self, spec: dict[str, Any], **headers: str) -> str:
        """The id of a new job."""
        response = self.call("POST", "/v1/jobs", json=spec, headers=headers)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def job_when(self, job: str, holds: Callable[[dict[str, Any]], bool], timeout_s: float = JOB_S) -> dict[str, Any]:
        """The job as soon as something holds for it. Fails when it is over and it still does not."""
        shown: dict[str, Any] = {}

        def look() -> bool:
            try:
                shown.update(self.get(f"/v1/jobs/{job}"))
            except (httpx.TransportError, OSError):
                return False
            return holds(shown) or shown["state"] in FINAL

        wait_for(look, timeout_s, lambda: f"{shown}\n{self._place.output()}")
        assert holds(shown), shown
        return shown

    def final(self, job: str) -> dict[str, Any]:
        """The job when it is over."""
        return self.job_when(job, lambda shown: shown["state"] in FINAL)

    def job_with_checkpoint(self, job: str) -> None:
        """Returns when the job runs and has a checkpoint to go on from."""
        wait_for(
            lambda: self.get(f"/v1/jobs/{job}/checkpoints")["items"], JOB_S, lambda: str(self.get(f"/v1/jobs/{job}"))
        )


def wait_for(holds: Callable[[], object], timeout_s: float, explain: Callable[[], str] = lambda: "") -> None:
    """Poll until something holds; a timeout fails the test."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s. {explain()}"
        time.sleep(POLL_S)


def command_line(folder: Path) -> str:
    """Of a process's folder in /proc."""
    return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def spec(epochs: int, **changes: Any) -> dict[str, Any]:
    """Digits on two ranks with both compressions: half a second an epoch."""
    return {
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": {"kind": "timm", "name": "test_resnet"},
        "augment": [{"kind": "random_crop", "size": [32, 32], "scale": [0.6, 1.0]}],
        "compression": [{"kind": "depthwise_separable"}, {"kind": "activation_compression", "ratio": 2}],
        "distributed": {"kind": "ddp", "processes": 2},
        "training": {"epochs": epochs, "batch_size": 64, "optimizer": {"kind": "adamw", "learning_rate": 0.003}},
        **changes,
    }
