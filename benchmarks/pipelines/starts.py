"""Whole training runs on a folder of small images: how soon is the first step, and how much memory do they take?"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.pipelines.rounds import ROOT

_LONGEST_S = 900.0
_SAMPLE_S = 0.1


@dataclass(frozen=True)
class Begun:
    """A run that was watched until some time after its first step."""

    first_step_s: float
    """From the start of its program, libraries included."""
    private_mb: float
    """Most memory of its training process that is its own: what is mapped from the cache is the kernel's."""
    resident_mb: float
    """With what is mapped."""


def begin(folder: Path, place: Path, cache: Path, watch_s: float) -> Begun:
    """Start a run, watch it for `watch_s` after its first step, stop it. Raises SystemExit when it fails."""
    place.mkdir()
    (place / "spec.json").write_text(json.dumps(spec(folder)))
    command = [sys.executable, "-m", "worker.training", str(place / "spec.json"), str(place / "run")]
    environment = os.environ | {"TRAINYARD_CACHE_DIR": str(cache)}
    begun_s = time.time()
    with (place / "log").open("wb") as log, subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log) as process:
        most, first_s = [0.0, 0.0], None
        while process.poll() is None and time.time() < begun_s + _LONGEST_S:
            time.sleep(_SAMPLE_S)
            most = [max(pair) for pair in zip(most, _memory_mb(process.pid), strict=True)]
            first_s = first_s or _first_step(place / "run/events.jsonl")
            if first_s and time.time() > first_s + watch_s:
                break
        process.send_signal(signal.SIGTERM)
    if first_s is None:
        raise SystemExit(f"data: the run made no step:\n{(place / 'log').read_text()[-2000:]}")
    return Begun(first_s - begun_s, *most)


def spec(folder: Path) -> dict[str, Any]:
    """A long training of a small network."""
    return {
        "dataset": {"kind": "folder", "path": str(folder)},
        "model": {"kind": "timm", "name": "resnet10t"},
        "augment": [
            {"kind": "resize", "size": [32, 32]},
            {"kind": "random_crop", "size": [32, 32], "padding": 4},
            {"kind": "random_flip", "axis": "horizontal"},
        ],
        "training": {"epochs": 100, "batch_size": 64},
    }


def _first_step(events: Path) -> float | None:
    with suppress(FileNotFoundError):
        for line in events.read_text("utf-8").splitlines():
            with suppress(ValueError):  # the last line may be half written
                event = json.loads(line)
                if "train/loss" in event.get("values", {}):
                    return datetime.fromisoformat(event["time"]).timestamp()
    return None


def _memory_mb(pid: int) -> tuple[float, float]:
    """Of the largest process of the run: private, and all that is resident."""
    largest = (0.0, 0.0)
    with suppress(psutil.NoSuchProcess):
        for each in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found = each.memory_info()
                largest = max(largest, ((found.rss - found.shared) / 1e6, found.rss / 1e6))
    return largest
