"""Where a rank works: its order, its fellow ranks, its material, and its ways to report and to save."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.contract.events import Phase
from app.contract.work import RunOrder
from worker.training import identity
from worker.training.board import Board
from worker.training.checkpoint import Snapshot
from worker.training.distributed import Ranks
from worker.training.events import Reporter
from worker.training.material import Material
from worker.training.narrator import Pace
from worker.training.run_place import RunPlace
from worker.training.saver import Saver


@dataclass(frozen=True)
class Start:
    """What a group of ranks goes on from, and how many images it computes at once: null where it may try all."""

    checkpoint: Path | None = None
    micro_batch: int | None = None


@dataclass
class Site(RunPlace):
    """Of one rank, for the whole run."""

    order: RunOrder
    run_dir: Path
    ranks: Ranks
    board: Board
    reporter: Reporter
    material: Material
    saver: Saver | None  # rank 0's, and the others' where ranks divide what is saved
    micro_batch: int | None = None  # most images at a time, for every network of the run

    @property
    def identity(self) -> dict[str, str]:
        """What a checkpoint must have in common with this run to be gone on from."""
        return identity.of_run(self.order.spec, self.material.loaded)

    def refuse_other(self, other: dict[str, str]) -> None:
        """Raise when a checkpoint is of another training or of data that has changed since."""
        identity.refuse_other(self.identity, other)

    def pace(self, phase: Phase) -> Pace:
        """How much of the run lies before a phase."""
        return self.pace_of(phase, self.material.steps_per_epoch)

    def tick(self) -> None:
        """Give a sign of life."""
        self.board.tick(self.ranks.rank)

    def gather(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """Every rank's value, as JSON, on all ranks."""
        return [json.loads(each) for each in self.ranks.gather(json.dumps(value).encode())]

    def largest(self, values: torch.Tensor) -> torch.Tensor:
        """The element-wise maximum over all ranks; the host waits for it where there are several.

        Ranks can add up, exactly where all but one give zero: each fills its own row of a table.
        """
        if self.ranks.world == 1:
            return values
        rows = values.new_zeros((self.ranks.world, *values.shape), device="cpu")
        rows[self.ranks.rank] = values
        return self.ranks.sum_later(rows).result().amax(0).to(values.device)

    def save(self, snapshot: Snapshot, *, is_best: bool) -> None:
        """Write a checkpoint in the background, with what earlier phases left: a new attempt has another folder."""
        if self.saver:
            self.saver.save(snapshot, is_best=is_best, carried=self.carried)

    def newest_checkpoint(self, phase: Phase) -> Path | None:
        """What rank 0 wrote last in this attempt, the same answer on every rank."""
        found = self.saver.newest(phase) if self.saver else None
        name = self.gather({"name": found.name if found else None})[0]["name"]
        return self.run_dir / "checkpoints" / name if name else None

    def take_over(self, checkpoint: Path) -> None:
        """Fetch what earlier phases left from the checkpoint that the run goes on from."""
        if self.ranks.rank == 0:
            self.fetch_carried(checkpoint)
