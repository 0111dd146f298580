"""What an epoch's validation decides: whether it is the best so far, and whether training goes on."""

import math
from dataclasses import dataclass

from app.contract.events import Noted
from app.contract.job import JobSpec
from app.contract.options import EarlyStopping, Watched, first_comparable_epoch
from worker.training.checkpoint import Position
from worker.training.events import Reporter
from worker.training.rows import Score


@dataclass(frozen=True)
class Verdicts:
    """Of one network's training. All that is remembered stands in its `Position`."""

    stopping: EarlyStopping | None
    export_best: Watched | None
    epochs: int
    first: int
    """Epochs that pass before any is compared."""

    @classmethod
    def of(cls, spec: JobSpec, phase: str) -> "Verdicts":
        training = spec.training
        methods = spec.compression if phase == "training" else ()
        first = first_comparable_epoch(methods, training.epochs)
        return cls(training.early_stopping, training.export_best, training.epochs, first)

    def is_over(self, position: Position) -> bool:
        """Whether no epoch is to follow those that were made."""
        return position.stopped_early or position.epoch >= self.epochs

    def judge(self, position: Position, score: Score) -> bool:
        """Take note of the epoch that `position` has just completed; true when it is the best so far.

        Equal is not better. A score that is no number is never better than another.
        """
        if position.epoch <= self.first:
            return False
        if self.stopping:
            self._count(self.stopping, position, score)
        found = _height(self.export_best or "val/accuracy", score)
        if position.best is None or found > position.best:
            position.best, position.best_epoch = found, position.epoch
            return True
        return False

    def tell(self, position: Position, reporter: Reporter) -> None:
        """Say that training ends now, if it was stopped."""
        stopping = self.stopping
        if not stopping or not position.stopped_early:
            return
        more = f" by more than {stopping.min_delta:g}" if stopping.min_delta else ""
        message = (
            f"{stopping.metric} has not become better{more} for {position.waited} epochs: training ends after epoch "
            f"{position.epoch} of {self.epochs}."
        )
        data = {"epoch": position.epoch, "epochs": self.epochs, "metric": stopping.metric}
        reporter.send(Noted, level="info", code="stopped_early", message=message, data=data)

    def _count(self, stopping: EarlyStopping, position: Position, score: Score) -> None:
        found = _height(stopping.metric, score)
        if position.bar is None or found > position.bar + stopping.min_delta:
            position.bar, position.waited = found, 0
        else:
            position.waited += 1
        position.stopped_early = position.waited >= stopping.patience and position.epoch < self.epochs


def _height(metric: Watched, score: Score) -> float:
    """Of a score: more is better."""
    height = score.accuracy if metric == "val/accuracy" else -score.loss
    return height if math.isfinite(height) else -math.inf
