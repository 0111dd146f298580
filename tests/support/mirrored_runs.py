"""Runs of the TensorFlow path, each by its own launcher."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.beside import ROOT
from tests.training_runs import Run

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
    "model": {"kind": "keras_application", "name": "mobilenet", "width": 0.1, "channels": 1},
    "augment": [{"kind": "random_crop", "size": [32, 32], "scale": [0.7, 1.0]}],
    "distributed": {"kind": "mirrored", "processes": 2},
    "training": {"epochs": 2, "batch_size": 128, "optimizer": {"kind": "adamw", "learning_rate": 0.003}},
}


def command(spec: dict[str, Any], folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.with_suffix(".json")
    file.write_text(json.dumps(spec))
    return [sys.executable, "-m", "worker.training", str(file), str(folder)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **more}


def done(spec: dict[str, Any], folder: Path, **more: str) -> Run:
    ended = subprocess.run(command(spec, folder), env=environment(**more), cwd=ROOT, check=False)
    return Run(folder, ended.returncode)
