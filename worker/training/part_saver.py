"""Checkpoints of ranks that divide the state among them: each writes a file of its own, beside the training.

Rank 0 puts them together. What another rank has written lies under a name of its own until then, complete when it is
there at all; rank 0 links it into the checkpoint, reads it for its hash, and publishes all of it at once, as ever. A
rank that cannot write says so at its next checkpoint, or at the end, and that ends the run.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch

from worker.training import parts
from worker.training.checkpoint import Snapshot, remove, remove_unfinished
from worker.training.distributed import Ranks
from worker.training.events import Reporter
from worker.training.saver import Saver

_LOOK_EVERY_S = 0.005


def saver_of(run_dir: Path, reporter: Reporter, ranks: Ranks) -> Saver | None:
    """What saves for this rank; null where rank 0 saves for all."""
    if ranks.sharded:
        return PartSaver(run_dir, reporter, ranks.rank, ranks.world)
    return Saver(run_dir, reporter) if ranks.rank == 0 else None


class PartSaver(Saver):
    """Of any rank. Only rank 0's looks after whole checkpoints."""

    def __init__(self, run_dir: Path, reporter: Reporter, rank: int, world: int) -> None:
        super().__init__(run_dir, reporter)
        self._rank, self._world = rank, world
        self._number = 0  # of the checkpoint being written: a step can be saved twice, at the end of an epoch
        remove_unfinished(self._folder, f".*.{rank}.partial")  # a run by hand that was killed goes on in its folder

    def _write(self, snapshot: Snapshot, is_best: bool, carried: list[Path]) -> None:
        self._number += 1
        finished = [self._finished(snapshot, rank) for rank in range(self._world)]
        _write_part(finished[self._rank], snapshot.part)
        if self._rank:
            return
        _wait_for(finished)
        super()._write(snapshot, is_best, [*carried, *finished])
        for path in finished:
            remove(path.parent)

    def _finished(self, snapshot: Snapshot, rank: int) -> Path:
        """Where a rank's part lies until rank 0 takes it: removed with what is unfinished, if it never does."""
        position = snapshot.position
        name = f".{position.phase}-{position.step:08d}.{self._number}.{rank}.partial"
        return self._folder / name / parts.file_name(rank)


def _write_part(path: Path, part: dict[str, Any]) -> None:
    """Complete, or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        torch.save(part, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def _wait_for(paths: list[Path]) -> None:
    """The launcher ends this process with the others when one of them ends badly."""
    while not all(path.exists() for path in paths):
        time.sleep(_LOOK_EVERY_S)
