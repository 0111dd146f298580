"""A training program without training, for tests of what watches it: `fake_run.py MODE ORDER.json RUN_DIR`."""

import ctypes
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from app.contract.events import CheckpointSaved, Failed, Metrics, Noted, Stopped, Succeeded
from app.contract.failures import FailureCode, failure
from app.contract.report import Machine, Measurement, Ratios, Report

PR_SET_PDEATHSIG = 1


class Run:
    """Writes events as a run does: one line, one write."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.seq = 0
        self.file = os.open(run_dir / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        (run_dir / "logs").mkdir(exist_ok=True)

    def report(self, cls, **values):
        self.seq += 1
        event = cls(seq=self.seq, time=datetime.now(UTC), **values)
        os.write(self.file, event.model_dump_json().encode() + b"\n")

    def metrics(self, count=1):
        for _ in range(count):
            self.report(Metrics, step=self.seq + 1, values={"train/loss": float("nan")})

    def succeed(self):
        measured = Measurement(parameters=1, macs=1, file_bytes=1, latency=[])
        report = Report(
            before=measured,
            after=measured,
            ratios=Ratios(parameters=1, macs=1, file_bytes=1, latency_p50=1),
            machine=Machine(host="h", device="cpu", processor="p", threads=1, torch="2"),
            verified=True,
        )
        self.report(Succeeded, report=report, artifacts=[])

    def mark(self, name):
        (self.run_dir / name).write_text(str(os.getpid()))


def quick(run):
    print("2026-11-21T10:00:00.123Z INFO hello from the launcher", flush=True)
    run.metrics(3)
    run.succeed()
    return 0


def environment(run):
    lines = "\0".join(f"{name}={value}" for name, value in os.environ.items())
    (run.run_dir / "environment").write_text(lines)
    return quick(run)


def failing(run):
    run.report(Failed, failure=failure(FailureCode.DIVERGED, "the loss is no number"))
    return 1


def crashing(run):
    print("Traceback (most recent call last):\n  File x\nRuntimeError: boom", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def patient(run):
    """Trains until it is asked to stop, then saves."""
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    run.mark("began")
    while not stop:
        run.metrics()
        time.sleep(0.05)
    run.report(CheckpointSaved, phase="training", epoch=0, step=1, path="checkpoints/x", size_bytes=1, sha256="0" * 64)
    run.report(Stopped, saved=True)
    return 75


def until_told(run):
    """Trains until the test writes a file, then succeeds."""
    run.mark("began")
    while not (run.run_dir / "go").exists():
        run.metrics()
        time.sleep(0.05)
    run.succeed()
    return 0


def stubborn(run):
    """Ignores SIGTERM, as do its child and a grandchild that left the group."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            run.mark("escaped")
            time.sleep(1000)
        run.mark("child")
        time.sleep(1000)
    while not ((run.run_dir / "escaped").exists() and (run.run_dir / "child").exists()):
        time.sleep(0.01)
    run.mark("began")
    time.sleep(1000)


def leaving(run):
    """Succeeds, but a child stays behind."""
    if os.fork() == 0:
        run.mark("child")
        time.sleep(1000)
    while not (run.run_dir / "child").exists():
        time.sleep(0.01)
    return quick(run)


def torn(run):
    """Reports that cannot be read, one that is refused, and a last line that never ends."""
    run.metrics()
    os.write(run.file, b'{"seq": 2, "type": "metr\n')
    run.seq = 2
    run.report(Noted, level="info", code="poison", message="the service of the test refuses this one")
    run.succeed()
    os.write(run.file, b'{"seq": 5, "type"')
    return 0


def main():
    mode, order, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    assert order.exists()
    if os.environ.get("TRAINYARD_SUPERVISED") and mode != "orphan":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if mode == "orphan":  # one that would outlive its supervisor
        mode = "until_told"
    run = Run(target)
    run.mark("launcher")
    sys.exit(globals()[mode](run))


if __name__ == "__main__":
    main()
