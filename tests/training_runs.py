"""Real training runs, forked from one warm process, so that a test of many runs costs seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.contract.events import EVENT, Event, Failed, Metrics
from app.contract.failures import Failure
from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder

ROOT = Path(__file__).parents[1]


@dataclass
class Run:
    """A finished run."""

    folder: Path
    exit_code: int

    @property
    def events(self) -> list[Event]:
        return [EVENT.validate_json(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]

    @property
    def failure(self) -> Failure:
        last = self.events[-1]
        assert isinstance(last, Failed)
        return last.failure

    def metric(self, name: str) -> dict[int, float]:
        return {e.step: e.values[name] for e in self.events if isinstance(e, Metrics) and name in e.values}

    @property
    def weights(self) -> bytes:
        return (self.folder / "artifacts/model.safetensors").read_bytes()

    @property
    def newest_checkpoint(self) -> Path:
        return sorted((self.folder / "checkpoints").glob("*-*"))[-1]


@dataclass
class WarmParent:
    """Starts runs and waits for them."""

    process: subprocess.Popen[str]

    def run(  # noqa: PLR0917 - most are given by name
        self,
        spec: dict[str, Any],
        folder: Path,
        resume: Path | None = None,
        meanwhile: Callable[[int], None] = lambda _pid: None,
        time_left_s: float | None = None,
        spare_bytes: int | None = None,
        resume_older: Sequence[Path] = (),
        model: Path | None = None,
        teacher: Path | None = None,
        **environment: str,
    ) -> Run:
        """`meanwhile` is called with the launcher's process id. `spare_bytes`: what each process may allocate.

        `model`: the folder of an earlier run's artifacts, for a spec that starts from them.
        """
        older = [str(each) for each in resume_older]
        paths = Paths(
            run_dir=str(folder),
            resume=str(resume) if resume else None,
            resume_older=older,
            model=str(model) if model else None,
            teacher=str(teacher) if teacher else None,
        )
        order = RunOrder(spec=JobSpec.model_validate(spec).resolved(), paths=paths, time_left_s=time_left_s)
        request = {"order": order.model_dump(mode="json"), "environment": environment, "spare_bytes": spare_bytes}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        pid = int(self._answer())
        try:
            meanwhile(pid)
        finally:  # else the next run would read this one's answer
            exit_code = int(self._answer())
        return Run(folder, exit_code)

    def _answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the warm parent died"
        return line


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmParent]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests/warm_parent.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield WarmParent(process)
        assert process.stdin
        process.stdin.close()


def when(folder: Path, text: bytes, times: int, act: Callable[[int], None]) -> Callable[[int], None]:
    """Calls `act` with the launcher's process id once events.jsonl in `folder` has `text` so many times."""

    def wait(pid: int) -> None:
        events = folder / "events.jsonl"
        while not events.exists() or events.read_bytes().count(text) < times:
            assert Path(f"/proc/{pid}").exists(), "the run ended before"
            time.sleep(0.005)
        act(pid)

    return wait


def trained(folder: Path) -> Callable[[int], None]:
    """Ends a run when its weights lie there, before they are measured."""
    return when(folder, b'"phase":"measuring"', 1, lambda pid: os.kill(pid, signal.SIGTERM))
