"""A run without training, and a data check without images: what they report is known beforehand.

`stand_in.py ORDER.json RUN_DIR` is a run. Labels of its job choose: `steps` of them, one every `every_ms`, on a host
whose clock is `hours_off`; `real` hands over to the real training program. `quick` in the job's folder hastens it.
`stand_in.py import ORDER.json RESULT.json` is the check of a folder.
"""

import ctypes
import hashlib
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

PR_SET_PDEATHSIG = 1
SAVE_EVERY = 4
QUICK_MS = 60


def loss(step: int) -> float:
    """What the run reports for a step, whichever attempt makes it."""
    return 1 / step


class Run:
    """Reports as a run does: one line, one write."""

    def __init__(self, run_dir: Path, hours_off: int) -> None:
        self.run_dir = run_dir
        self.clock_off = timedelta(hours=hours_off)
        path = run_dir / "events.jsonl"
        self.seq = path.read_bytes().count(b"\n") if path.exists() else 0
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def report(self, kind: str, **fields: object) -> None:
        self.seq += 1
        event = {"type": kind, "seq": self.seq, "time": (datetime.now(UTC) + self.clock_off).isoformat(), **fields}
        os.write(self.file, json.dumps(event).encode() + b"\n")

    def save(self, step: int) -> None:
        folder = self.run_dir / "checkpoints" / f"training-{step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "progress.json").write_text(json.dumps({"step": step}))
        path = f"checkpoints/{folder.name}"
        self.report("checkpoint", phase="training", epoch=0, step=step, path=path, size_bytes=1, sha256="0" * 64)

    def end(self, gates: dict) -> int:
        """With a report; where the spec has a gate, it is missed."""
        measured = {"parameters": 1, "macs": 1, "file_bytes": 1, "latency": []}
        ratios = {"parameters": 1, "macs": 1, "file_bytes": 1, "latency_p50": 1}
        machine = {"host": "h", "device": "cpu", "processor": "p", "threads": 1, "torch": "2"}
        found = {"before": measured, "after": measured, "ratios": ratios, "machine": machine, "verified": True}
        if not gates.get("max_parameters"):
            self.report("succeeded", report=found, artifacts=[])
            return 0
        found["gates"] = [{"gate": "max_parameters", "limit": 1, "found": 2, "passed": False, "missed_by": 1}]
        failure = {"code": "gate_missed", "message": "1 of 1 gates missed."}
        self.report("failed", failure=failure, report=found, artifacts=[self.left(json.dumps(found).encode())])
        return 1

    def left(self, content: bytes) -> dict:
        """An artifact with this in it."""
        path = self.run_dir / "artifacts" / "report.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        return {"name": path.name, "path": "artifacts/report.json", "size_bytes": len(content), "sha256": sha256}


def begun(resume: str | None) -> int:
    """The step to go on from."""
    return json.loads((Path(resume) / "progress.json").read_text())["step"] if resume else 0


def train(order: dict, run_dir: Path) -> int:
    labels, stop = order["spec"]["labels"], []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    run = Run(run_dir, int(labels.get("hours_off", "0")))
    run.report("phase", phase="training")
    step = begun(order["paths"]["resume"])
    pause_ms = QUICK_MS if (run_dir.parent.parent / "quick").exists() else int(labels["every_ms"])
    while step < int(labels["steps"]):
        step += 1
        time.sleep(pause_ms / 1000)
        run.report("metrics", step=step, values={"train/loss": loss(step)})
        if stop or step % SAVE_EVERY == 0:
            run.save(step)
        if stop:
            run.report("stopped", saved=True)
            return 75
    return run.end(order["spec"].get("gates", {}))


def check(order: dict, result: Path) -> int:
    time.sleep(float((Path(order["path"]) / "seconds").read_text()))
    sizes = {"min_height": 8, "max_height": 8, "min_width": 8, "max_width": 8}
    facts = {"sha256": "a" * 64, "classes": {"a": 1, "b": 1}, "images": 2, "validation_images": 0, "size_bytes": 2}
    result.write_text(json.dumps({**facts, "image_sizes": sizes, "refused": [], "refused_count": 0}))
    return 0


def load() -> None:
    """For a warm parent: there is nothing to load."""


def main(arguments: list[str]) -> int:
    if arguments[0] == "import":
        return check(json.loads(Path(arguments[1]).read_text()), Path(arguments[2]))
    order = json.loads(Path(arguments[0]).read_text())
    if "real" in order["spec"]["labels"]:
        os.execv(sys.executable, [sys.executable, "-m", "worker.training", *arguments])
    return train(order, Path(arguments[1]))


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # as the real program: it dies with its supervisor
    sys.exit(main(sys.argv[1:]))
