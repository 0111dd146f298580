"""What the ranks tell each other about once a second, beside the training, so that all decide the same at one step.

One sum carries everything: whether anyone wishes to stop, whether a checkpoint is due, how long steps take (which sets
when the next council is), and each step's loss and hits. It is begun after one step and read after the next, so
no step waits for it; every rank begins and reads it at the same steps, since the interval comes out of the sum itself.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from worker.training.board import Board
from worker.training.distributed import Pending, Ranks
from worker.training.rows import NON_FINITE_LIMIT, Diverging, Row, row_of

__all__ = ["Council", "Decision", "Diverging", "Fetch", "Row"]

INTERVAL_S = 1.0
LONGEST_INTERVAL_STEPS = 1000
SAVE_EVERY_S = 600.0

# S = steps since the last council. A row is (sum of losses, right answers, samples) of one step, and behind it the sum
# over the samples of each thing that methods of the loop publish: R values
_FLAGS = 3


@dataclass(frozen=True)
class Decision:
    """The same on every rank."""

    stop: bool = False
    save: bool = False


@dataclass
class Fetch:
    """A row on its way from the device to the host; `ready` is null on the CPU, where it is there at once."""

    row_R: torch.Tensor
    ready: torch.cuda.Event | None = None

    @classmethod
    def begin(cls, row_R: torch.Tensor) -> "Fetch":
        """Start the copy; the host does not wait for the device."""
        if row_R.device.type != "cuda":
            return cls(row_R)
        host_R = torch.empty(len(row_R), dtype=row_R.dtype, pin_memory=True)
        host_R.copy_(row_R, non_blocking=True)
        ready = torch.cuda.Event()
        ready.record()
        return cls(host_R, ready)

    def result(self) -> torch.Tensor:
        """The row as fp64 on the CPU."""
        if self.ready:
            self.ready.synchronize()
        return self.row_R.double()


@dataclass
class Council:
    """One rank's chair. `publish` is given the rows in order, on every rank."""

    ranks: Ranks
    board: Board
    publish: Callable[[Sequence[Row]], None]
    first_step: int  # the steps before it are known already
    interval_s: float = field(default_factory=lambda: float(os.environ.get("TRAINYARD_COUNCIL_S", INTERVAL_S)))
    save_every_s: float = field(default_factory=lambda: float(os.environ.get("TRAINYARD_CHECKPOINT_S", SAVE_EVERY_S)))
    non_finite: int = 0  # steps in a row
    published: int = 0  # values behind the three of a row
    _waiting: list[Fetch] = field(default_factory=list)
    _pending: Pending | None = None
    _next: int = 0
    _slow: bool = False  # steps take longer than the interval: then waiting a moment for the others costs nothing
    _saved_s: float = field(default_factory=time.monotonic)
    _began_s: float = field(default_factory=time.monotonic)
    _began_step: int = 0

    def __post_init__(self) -> None:
        self._known = self.first_step - 1  # the last step whose row was read
        self._began_step = self._known
        self._next = self.first_step

    def after_step(self, step: int, row_R: torch.Tensor) -> Decision:
        """Take note of a step; begin or read a council when it is time."""
        self._waiting.append(Fetch.begin(row_R))
        if self._pending:
            return self._read(step)
        if self._slow:
            return self.settle(step)
        if step >= self._next:
            self._begin(step, self._waiting[:-1])  # the newest may still be on the device
        return Decision()

    def settle(self, step: int) -> Decision:
        """Hold a council about everything up to `step`, and wait for it: at an epoch's end, before a save."""
        first = self._read(step) if self._pending else Decision()
        self._begin(step, self._waiting)
        second = self._read(step)
        return Decision(first.stop or second.stop, first.save or second.save)

    def saved(self) -> None:
        """A checkpoint was made: the next one is due later."""
        self._saved_s = time.monotonic()

    def restart_clock(self) -> None:
        """After an evaluation, whose time is not that of steps."""
        self._began_s = time.monotonic()

    def _begin(self, step: int, fetches: Sequence[Fetch]) -> None:
        now_s = time.monotonic()
        step_s = (now_s - self._began_s) / max(step - self._began_step, 1)
        due = now_s - self._saved_s > self.save_every_s
        rows_SR = [fetch.result() for fetch in fetches]
        flags = torch.tensor([float(self.board.stop_wished), float(due), step_s], dtype=torch.float64)
        self._began_s, self._began_step = now_s, step
        self._waiting = self._waiting[len(rows_SR) :]
        self._pending = self.ranks.sum_later(torch.cat([flags, *rows_SR]))

    def _read(self, step: int) -> Decision:
        assert self._pending
        total = self._pending.result()
        self._pending = None
        stop, due, step_s = total[:_FLAGS].tolist()
        mean_step_s = max(step_s / self.ranks.world, 1e-9)
        self._slow = mean_step_s > self.interval_s
        self._next = step + max(1, min(round(self.interval_s / mean_step_s), LONGEST_INTERVAL_STEPS))
        self._learn(total[_FLAGS:].reshape(-1, 3 + self.published).tolist())
        return Decision(stop > 0, due > 0)

    def _learn(self, rows_SR: list[list[float]]) -> None:
        rows = [row_of(self._known + 1 + index, row) for index, row in enumerate(rows_SR)]
        self._known += len(rows)
        self.publish(rows)
        for row in rows:
            self.non_finite = 0 if math.isfinite(row.loss) else self.non_finite + 1
            if self.non_finite >= NON_FINITE_LIMIT:
                raise Diverging(f"The loss of steps {row.step - NON_FINITE_LIMIT + 1} to {row.step} is {row.loss}.")
