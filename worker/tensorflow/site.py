"""Where a network is trained: the order, the devices, the data, and the ways to report and to save."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from app.contract.events import Phase
from app.contract.work import RunOrder
from worker.tensorflow.checkpoints import ArraySnapshot
from worker.tensorflow.devices import Strategy
from worker.tensorflow.material import Material
from worker.training import identity
from worker.training.board import Board
from worker.training.events import Reporter
from worker.training.narrator import Pace
from worker.training.run_place import RunPlace
from worker.training.saver import Saver

SAVE_EVERY_S = 600.0


@dataclass
class Site(RunPlace):
    """For the whole run."""

    order: RunOrder
    run_dir: Path
    strategy: Strategy
    board: Board
    reporter: Reporter
    material: Material
    saver: Saver
    _saved_s: float = field(default_factory=time.monotonic)

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
        """Give a sign of life, for every device."""
        for number in range(self.material.world):
            self.board.tick(number)

    def save_is_due(self) -> bool:
        """Whether the last checkpoint is old."""
        every_s = float(os.environ.get("TRAINYARD_CHECKPOINT_S", SAVE_EVERY_S))
        return time.monotonic() - self._saved_s > every_s

    def save(self, snapshot: ArraySnapshot, *, is_best: bool) -> None:
        """Write a checkpoint in the background, with what earlier phases left."""
        self.saver.save(snapshot, is_best=is_best, carried=self.carried)
        self._saved_s = time.monotonic()
