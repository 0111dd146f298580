"""What the phases of a run have in common, whichever library trains."""

import shutil
from pathlib import Path

from app.contract.events import Phase
from app.contract.report import Trained
from app.contract.training import TrainBaseline
from app.contract.work import RunOrder
from worker.training.checkpoint import Position
from worker.training.narrator import Pace


class StopRun(Exception):
    """Training stopped after a step. `saved`: a checkpoint of that step is durable."""

    def __init__(self, *, saved: bool) -> None:
        super().__init__()
        self.saved = saved


class RunPlace:
    """The order of a run, and its folder."""

    order: RunOrder
    run_dir: Path

    @property
    def phases(self) -> list[Phase]:
        """The networks that are trained, in order."""
        return ["baseline", "training"] if isinstance(self.order.spec.baseline, TrainBaseline) else ["training"]

    @property
    def artifacts(self) -> Path:
        """What the job leaves to its user."""
        return self.run_dir / "artifacts"

    @property
    def carried(self) -> list[Path]:
        """What earlier phases left: it goes along with each checkpoint, since a new attempt has another folder."""
        return sorted(self.artifacts.glob("baseline.*"))

    def pace_of(self, phase: Phase, steps_per_epoch: int) -> Pace:
        """How much of the run lies before a phase."""
        epochs = self.order.spec.training.epochs
        return Pace(epochs * len(self.phases), steps_per_epoch, self.phases.index(phase) * epochs * steps_per_epoch)

    def trained(self, position: Position, *, is_best: bool, averaged: bool) -> Trained:
        """How the network of a phase came to its weights, which are the best epoch's or the last one's."""
        return Trained(
            epochs=position.epoch,
            planned_epochs=self.order.spec.training.epochs,
            stopped_early=position.stopped_early,
            exported_epoch=position.best_epoch if is_best else position.epoch,
            averaged=averaged,
        )

    def fetch_carried(self, checkpoint: Path) -> None:
        """Take what earlier phases left from the checkpoint that the run goes on from."""
        self.artifacts.mkdir(exist_ok=True)
        for path in checkpoint.glob("baseline.*"):
            kept = self.artifacts / path.name
            if not (kept.exists() and kept.samefile(path)):  # a run by hand that goes on in its own folder
                shutil.copyfile(path, kept)
