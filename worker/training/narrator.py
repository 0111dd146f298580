"""What rank 0 tells about the training: metrics of every step, progress, and the end of each epoch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.contract.events import EpochEnded, Metrics, Phase, Progress, Progressed
from worker.training.events import Reporter
from worker.training.rows import Row, Score


@dataclass
class Pace:
    """How far the whole run is, over all phases that train, and how long the rest will take."""

    epochs: int
    steps_per_epoch: int
    done_before: int = 0  # steps of the phases that are over
    _began_s: float | None = None
    _began_step: int = 0

    def progress(self, step: int) -> Progress:
        """`step` is of the phase under way. The time left follows the mean pace of this process so far."""
        done, steps = self.done_before + step, self.epochs * self.steps_per_epoch
        now_s = time.monotonic()
        if self._began_s is None or done <= self._began_step:  # the first look, or a step back
            self._began_s, self._began_step = now_s, done
            eta_s = None
        else:
            eta_s = (now_s - self._began_s) / (done - self._began_step) * (steps - done)
        epoch = done // self.steps_per_epoch
        return Progress(epoch=epoch, epochs=self.epochs, step=done, steps=steps, fraction=done / steps, eta_s=eta_s)


@dataclass(frozen=True)
class _Note:
    """What only the host knows of a step."""

    time: datetime
    rate: float
    images_per_s: float
    waiting_share: float


@dataclass
class Narrator:
    """Speaks for one phase. The shipped network's metrics have plain names; the baseline's begin with `baseline/`."""

    reporter: Reporter
    phase: Phase
    pace: Pace
    published: Sequence[str] = ()
    """Names of what methods of the loop add to a row."""
    _notes: dict[int, _Note] = field(default_factory=dict)
    _last_s: float = field(default_factory=time.perf_counter)
    _waited_s: float = 0.0

    def step_made(self, step: int, rate: float, images: int, waited_s: float) -> None:
        """A step was handed to the device; its loss follows when the ranks have added it up.

        `waited_s`: for how long this rank has waited for batches, in all steps up to now.
        """
        now_s = time.perf_counter()
        took_s = max(now_s - self._last_s, 1e-9)
        share = min((waited_s - self._waited_s) / took_s, 1.0)
        self._notes[step] = _Note(datetime.now(UTC), rate, images / took_s, share)
        self._last_s, self._waited_s = now_s, waited_s

    def restart_clock(self) -> None:
        """After work that is no step."""
        self._last_s = time.perf_counter()

    def tell(self, rows: Sequence[Row]) -> None:
        """Publish the steps that all ranks now know, and the progress."""
        for row in rows:
            note = self._notes.pop(row.step)
            values = {"loss": row.loss, "accuracy": row.accuracy}
            values |= {"learning_rate": note.rate, "images_per_s": note.images_per_s}
            values |= dict(zip(self.published, row.published, strict=True))
            named = self._named("train", values) | self._named("system", {"data_wait_share": note.waiting_share})
            self.reporter.send(Metrics, time=note.time, step=row.step, values=named)
        if rows:
            self.reporter.send(Progressed, progress=self.pace.progress(rows[-1].step))

    def epoch_ended(self, epoch: int, step: int, train_sums: Sequence[float], score: Score) -> None:
        """Publish the validation of an epoch, as of its last step."""
        loss_sum, right, samples = train_sums
        validation = self._named("val", {"loss": score.loss, "accuracy": score.accuracy})
        training = self._named("train", {"loss": loss_sum / samples, "accuracy": right / samples})
        self.reporter.send(Metrics, step=step, values=validation)
        self.reporter.send(EpochEnded, phase=self.phase, epoch=epoch, values=training | validation)

    def stalled(self, step: int, seconds: float) -> None:
        """Tell how long training stood still for a checkpoint."""
        self.reporter.send(Metrics, step=step, values=self._named("system", {"checkpoint_stall_s": seconds}))

    def jumped(self, step: int, fraction: float) -> None:
        """Tell that no more steps follow in this phase, though more were planned."""
        progress = self.pace.progress(step).model_copy(update={"fraction": fraction, "eta_s": None})
        self.reporter.send(Progressed, progress=progress)

    def _named(self, group: str, values: dict[str, float]) -> dict[str, float]:
        prefix = "baseline/" if self.phase == "baseline" else ""
        return {f"{prefix}{group}/{name}": value for name, value in values.items()}
