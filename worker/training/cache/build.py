"""One pass over the files of a data set: checked, hashed, decoded as they are trained on and written to the cache, all
by processes that may die of them; this one gives them room and keeps the list."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from worker.training import image_check, stored_size
from worker.training.cache.index import Index
from worker.training.cache.shards import Places, Slot, name
from worker.training.cache.store import Store
from worker.training.image_check import Follower
from worker.training.image_looker import Keep
from worker.training.layouts import Layout
from worker.training.notes import Tell
from worker.training.stored_size import Reduction

_FIRST_S = 2.0  # before the first word about progress
_PAUSE_SHARE = 0.05  # of the time passed: about 14 words until it has doubled


class Progress(Follower):
    """Tells how far a pass is: to a person, and to other jobs that wait for it. Keeps nothing."""

    def __init__(self, tell: Tell, lock: int | None = None) -> None:
        """`lock`: the descriptor of the lock's file, in which others look."""
        self._tell = tell
        self._lock_file = lock
        self._begun_s = time.monotonic()
        self._next_s = self._begun_s + _FIRST_S
        self._total = 0

    @property
    def elapsed_s(self) -> float:
        """Since the pass began."""
        return time.monotonic() - self._begun_s

    def begin(self, layout: Layout) -> None:
        """See Follower."""
        self._total = len(layout.names)

    def told(self, files: int) -> None:
        """See Follower: one call at a time."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + max(_FIRST_S, self.elapsed_s * _PAUSE_SHARE)
        message = f"Preparing data: {files:,} of {self._total:,} files."
        self._tell("info", "preparing_data", message, done=files, total=self._total)
        if self._lock_file is not None:
            os.ftruncate(self._lock_file, os.pwrite(self._lock_file, message.encode(), 0))


class Writing(Progress):
    """Has the images kept too, as long as there is room for them. A trouble with the disk ends the keeping, not the
    check."""

    def __init__(self, keep: Keep, make_room: Callable[[int], None], tell: Tell, lock: int) -> None:
        """`make_room(bytes)` is asked before a file of pixels is begun, and raises OSError where there is none."""
        super().__init__(tell, lock)
        self.keep = keep
        self.keeper = self
        self.slots: dict[str, Slot] = {}
        self.trouble: OSError | None = None
        self._make_room = make_room
        self._files = 0
        self._one = threading.Lock()

    def number(self, size_bytes: int) -> int | None:
        """See Keeper."""
        with self._one:
            try:
                if self.trouble is None:
                    self._make_room(size_bytes)
            except OSError as error:
                self.failed(error)
            if self.trouble is not None:
                return None
            self._files += 1
            return self._files - 1

    def kept(self, file: str, slot: Sequence[int]) -> None:
        """See Keeper."""
        self.slots[file] = Slot(*slot)

    def complete(self) -> None:
        """Make what a process did not come to begin before it died: files are counted by their numbers."""
        for number in range(self._files):
            Path(self.keep.folder, name(number)).touch()

    def failed(self, error: OSError) -> None:
        """See Keeper. Frees the room at once, though others may still write a little."""
        self.trouble = self.trouble or error
        for each in Path(self.keep.folder).glob("pixels-*"):
            with suppress(OSError):
                os.truncate(each, 0)


def check(folder: str, bad_image_share: float, tell: Tell) -> Index:
    """The pass without a cache. Raises RunFailure(BAD_DATASET)."""
    return Index.of(image_check.check(folder, bad_image_share, Progress(tell)))


class Build:
    """The pass into a cache; whoever makes one holds `lock`."""

    def __init__(self, store: Store, partial: Path, lock: int, channels: int, reduction: Reduction) -> None:
        self._store = store
        self._partial = partial
        self._lock = lock
        self._channels = channels
        self._reduction = reduction

    def run(self, folder: str, bad_image_share: float, tell: Tell) -> tuple[Index, Path | None]:
        """What was found, and the entry, if it could be written: otherwise the reason is told.

        Raises RunFailure(BAD_DATASET), and OSError when nothing at all can be written.
        """
        shutil.rmtree(self._partial, ignore_errors=True)  # of one that was killed
        self._partial.mkdir()
        keep = Keep(str(self._partial), self._channels, self._reduction.lists)
        writing = Writing(keep, lambda size: self._store.make_room(size, self._partial), tell, self._lock)
        try:
            index = Index.of(image_check.check(folder, bad_image_share, writing))
            return index, self._publish(index, writing, tell)
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _publish(self, index: Index, writing: Writing, tell: Tell) -> Path | None:
        try:
            if writing.trouble:
                raise writing.trouble
            writing.complete()
            self._store.make_room(0, self._partial)  # the last file was begun before its size was known
            places = Places.of([writing.slots[file] for file in index.names])
            reductions = stored_size.digest(self._reduction.factors(index.sizes_N2))
            entry = self._store.publish(self._partial, index, places, self._channels, reductions)
        except OSError as error:
            unavailable(tell, error)
            return None
        size_bytes = int((places.sizes_N2.astype("int64").prod(axis=1) * self._channels).sum())
        message = (
            f"{len(index.names):,} images were decoded in {writing.elapsed_s:.1f} s and are kept for all jobs on this "
            f"worker ({size_bytes / 1e6:,.0f} MB)."
        )
        tell("info", "data_cached", message, images=len(index.names), size_bytes=size_bytes)
        return entry


def unavailable(tell: Tell, error: Exception) -> None:
    """The job goes on without the cache."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    message = f"Decoded images cannot be kept ({reason}): the files are decoded again in every epoch."
    tell("warning", "cache_unavailable", message, reason=reason)
