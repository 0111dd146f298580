"""Writing checkpoints beside the training, and keeping no more of them than are of use."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.contract.events import CheckpointSaved
from app.contract.faults import Point, reach
from worker.training import checkpoint
from worker.training.checkpoint import Snapshot
from worker.training.events import Reporter

if TYPE_CHECKING:  # both libraries' checkpoints are written here, and TensorFlow's are copied by itself
    from worker.training.host_copy import HostCopy

KEPT = 2


class Saver:
    """Rank 0's. One checkpoint is written at a time; a failure to write comes up at the next call."""

    def __init__(self, run_dir: Path, reporter: Reporter) -> None:
        self._folder = run_dir / "checkpoints"
        self._run_dir = run_dir
        self._reporter = reporter
        self._pool = ThreadPoolExecutor(1, "saver")
        self._pool.submit(int)  # its thread starts now: later, memory may be too short for a stack
        self._under_way: Future[None] | None = None
        self._best: Path | None = None

    @cached_property
    def copies(self) -> "HostCopy":
        """Of torch's tensors, in memory that is used again."""
        from worker.training.host_copy import HostCopy

        return HostCopy()

    def copy(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """Of a state, to be saved: it lasts until the next is made, for which this waits until it is written."""
        self.wait()
        return self.copies.of(tensors)

    def save(self, snapshot: Snapshot, *, is_best: bool, carried: list[Path]) -> None:
        """Begin to write. `snapshot` must be a copy: training goes on and changes the weights."""
        self.wait()
        self._under_way = self._pool.submit(self._write, snapshot, is_best, carried)

    def wait(self) -> None:
        """Return when nothing is under way; raises what went wrong."""
        if self._under_way:
            under_way, self._under_way = self._under_way, None
            under_way.result()

    def newest(self, phase: str) -> Path | None:
        """The last good checkpoint of a phase that this attempt wrote."""
        self.wait()
        for folder in reversed(checkpoint.in_order(self._folder)):
            if folder.name.startswith(f"{phase}-"):
                return folder
        return None

    def close(self) -> None:
        """Finish what is under way."""
        self.wait()
        self._pool.shutdown()

    def _write(self, snapshot: Snapshot, is_best: bool, carried: list[Path]) -> None:
        told = checkpoint.save(snapshot, self._folder, carried)
        position = snapshot.position
        reach(Point.CHECKPOINT_BEFORE_EVENT)
        self._reporter.send(
            CheckpointSaved,
            phase=position.phase,
            epoch=position.epoch,
            step=position.step,
            path=f"checkpoints/{told['name']}",
            size_bytes=told["size_bytes"],
            sha256=told["sha256"],
        )
        if is_best:
            self._best = self._folder / told["name"]
        reach(Point.CHECKPOINT_BEFORE_DROP)
        self._drop_old(self._folder / told["name"])

    def _drop_old(self, newest: Path) -> None:
        """What lies before the last two goes, and what a step back left behind them in time."""
        complete = checkpoint.in_order(self._folder)
        up_to_now = complete[: complete.index(newest) + 1]
        kept = {*up_to_now[-KEPT:], self._best}
        for folder in complete:
            if folder not in kept:
                checkpoint.remove(folder)
