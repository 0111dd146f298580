"""Checkpoints: the same folders, manifest and places in the run as torch's, with arrays by name in them."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import safetensors.numpy

from worker.training import checkpoint
from worker.training.checkpoint import PROGRESS, Position, Snapshot

STATE = "state.safetensors"


@dataclass
class ArraySnapshot(Snapshot):
    """`tensors`: of the network and the optimizer, by the name of each variable."""

    file: ClassVar[str] = STATE

    def dump(self, file: BinaryIO) -> None:
        """Never a pickle."""
        flat = {
            f"{part}:{name}": np.asarray(value, order="C")
            for part, values in self.tensors.items()
            for name, value in values.items()
        }
        file.write(safetensors.numpy.save(flat))


def snapshot(position: Position, identity: dict[str, str], tensors: dict[str, dict[str, Any]]) -> ArraySnapshot:
    """Of arrays that nobody changes."""
    held = replace(position, epoch_sums=list(position.epoch_sums))
    return ArraySnapshot(held, identity, tensors, rng=[])


def load(folder: Path) -> ArraySnapshot:
    """Read a verified checkpoint."""
    progress = json.loads((folder / PROGRESS).read_text("utf-8"))
    tensors: dict[str, dict[str, Any]] = {}
    for key, value in safetensors.numpy.load_file(folder / STATE).items():
        part, _, name = key.partition(":")
        tensors.setdefault(part, {})[name] = value
    return ArraySnapshot(Position(**progress["position"]), progress["identity"], tensors, progress["rng"])


def phase_of(folder: Path) -> str:
    """Which network a checkpoint is of."""
    return json.loads((folder / checkpoint.MANIFEST).read_text("utf-8"))["phase"]  # type: ignore[no-any-return]
