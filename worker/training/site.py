"""Where a rank works: its order, its fellow ranks, its material, and its ways to report and to save."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.contract.events import Phase
from app.contract.failures import FailureCode
from app.contract.training import TrainBaseline
from app.contract.work import RunOrder
from worker.training import identity
from worker.training.board import Board
from worker.training.checkpoint import Snapshot
from worker.training.distributed import Ranks
from worker.training.errors import RunFailure
from worker.training.events import Reporter
from worker.training.material import Material
from worker.training.narrator import Pace
from worker.training.saver import Saver


@dataclass(frozen=True)
class Start:
    """What a group of ranks goes on from, and how many images it computes at once: null where it may try all."""

    checkpoint: Path | None = None
    micro_batch: int | None = None


class StopRun(Exception):
    """All ranks agreed to stop after the same step. `saved`: a checkpoint of that step is durable."""

    def __init__(self, *, saved: bool) -> None:
        super().__init__()
        self.saved = saved


@dataclass
class Site:
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
    def phases(self) -> list[Phase]:
        """The networks that are trained, in order."""
        return ["baseline", "training"] if isinstance(self.order.spec.baseline, TrainBaseline) else ["training"]

    @property
    def artifacts(self) -> Path:
        """What the job leaves to its user."""
        return self.run_dir / "artifacts"

    @property
    def identity(self) -> dict[str, str]:
        """What a checkpoint must have in common with this run to be gone on from."""
        said = {"spec": identity.of_spec(self.order.spec), "data": self.material.loaded.sha256}
        reductions = self.material.loaded.reductions
        return said | ({"reductions": reductions} if reductions else {})

    def refuse_other(self, other: dict[str, str]) -> None:
        """Raise when a checkpoint is of another training or of data that has changed since."""
        if other["spec"] != self.identity["spec"]:
            raise RunFailure(FailureCode.BAD_SPEC, "The checkpoint was made by another spec: use a new run folder.")
        if other["data"] != self.identity["data"]:
            message = "The data set has changed since the checkpoint was made: start a new job."
            raise RunFailure(FailureCode.BAD_DATASET, message)
        if other.get("reductions") != self.identity.get("reductions"):
            message = "The checkpoint was made from these images at another size, by another version: start a new job."
            raise RunFailure(FailureCode.BAD_SPEC, message)

    def pace(self, phase: Phase) -> Pace:
        """How much of the run lies before a phase."""
        epochs, steps = self.order.spec.training.epochs, self.material.steps_per_epoch
        return Pace(epochs * len(self.phases), steps, self.phases.index(phase) * epochs * steps)

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
            self.saver.save(snapshot, is_best=is_best, carried=sorted(self.artifacts.glob("baseline.*")))

    def newest_checkpoint(self, phase: Phase) -> Path | None:
        """What rank 0 wrote last in this attempt, the same answer on every rank."""
        found = self.saver.newest(phase) if self.saver else None
        name = self.gather({"name": found.name if found else None})[0]["name"]
        return self.run_dir / "checkpoints" / name if name else None

    def take_over(self, checkpoint: Path) -> None:
        """Fetch what earlier phases left from the checkpoint that the run goes on from."""
        if self.ranks.rank == 0:
            self.artifacts.mkdir(exist_ok=True)
            for path in checkpoint.glob("baseline.*"):
                shutil.copyfile(path, self.artifacts / path.name)
