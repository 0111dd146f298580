"""One pass over the files of a data set: checked, hashed, decoded and written to the cache."""

import os
import shutil
import threading
import time
import zlib
from pathlib import Path

from worker.training import image_check, stored_size
from worker.training.cache.index import Index
from worker.training.cache.shards import Image, Places, ShardWriter, Slot
from worker.training.cache.store import Store
from worker.training.image_check import Decoder
from worker.training.notes import Tell
from worker.training.stored_size import Reduction

_FIRST_S = 2.0  # before the first word about progress
_PAUSE_SHARE = 0.05  # of the time passed: about 14 words until it has doubled


class Progress:
    """Tells how far a pass is: to a person, and to other jobs that wait for it."""

    def __init__(self, tell: Tell, lock: int | None = None) -> None:
        """`lock`: the descriptor of the lock's file, in which others look."""
        self._tell = tell
        self._lock_file = lock
        self._lock = threading.Lock()
        self._begun_s = time.monotonic()
        self._next_s = self._begun_s + _FIRST_S
        self._done = self._total = 0

    @property
    def elapsed_s(self) -> float:
        """Since the pass began."""
        return time.monotonic() - self._begun_s

    def begin(self, total: int) -> None:
        """So many files there are."""
        self._total = total

    def add(self, files: int) -> None:
        """So many more are done."""
        with self._lock:
            self._done += files
            now_s = time.monotonic()
            if now_s < self._next_s:
                return
            self._next_s = now_s + max(_FIRST_S, self.elapsed_s * _PAUSE_SHARE)
            message = f"Preparing data: {self._done:,} of {self._total:,} files."
            self._tell("info", "preparing_data", message, done=self._done, total=self._total)
            if self._lock_file is not None:
                os.ftruncate(self._lock_file, os.pwrite(self._lock_file, message.encode(), 0))


class Reading(Decoder):
    """Decodes each file as it will be trained on, and keeps nothing but the checksum of its content."""

    def __init__(self, channels: int, reduction: Reduction, progress: Progress) -> None:
        self.contents: dict[str, int] = {}
        self._channels = channels
        self._reduction = reduction
        self._progress = progress

    def begin(self, files: int) -> None:
        """See Decoder."""
        self._progress.begin(files)

    def size(self, name: str, content: bytes) -> tuple[int, int]:
        """See Decoder."""
        image_HWC, size = stored_size.decode(content, self._channels, self._reduction)
        self.contents[name] = zlib.crc32(content)
        self.keep(name, image_HWC)
        return size

    def keep(self, name: str, image_HWC: Image) -> None:
        """For later."""

    def done(self, files: int) -> None:
        """See Decoder."""
        self._progress.add(files)


class Writing(Reading):
    """Keeps the images too, as long as there is room for them."""

    def __init__(self, channels: int, reduction: Reduction, progress: Progress, writer: ShardWriter) -> None:
        super().__init__(channels, reduction, progress)
        self.slots: dict[str, Slot] = {}
        self.trouble: OSError | None = None
        self._writer = writer

    def keep(self, name: str, image_HWC: Image) -> None:
        """The first error ends the keeping, not the pass: the check is needed in any case."""
        if self.trouble is None:
            try:
                self.slots[name] = self._writer.add(image_HWC)
            except OSError as error:
                self.trouble = error
                self._writer.give_back()


def check(folder: str, bad_image_share: float, channels: int, reduction: Reduction, tell: Tell) -> Index:
    """The pass without a cache. Raises RunFailure(BAD_DATASET)."""
    reading = Reading(channels, reduction, Progress(tell))
    return Index.of(image_check.check(folder, bad_image_share, reading), reading.contents)


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
        writer = ShardWriter(self._partial, lambda size_bytes: self._store.make_room(size_bytes, self._partial))
        progress = Progress(tell, self._lock)
        writing = Writing(self._channels, self._reduction, progress, writer)
        try:
            manifest = image_check.check(folder, bad_image_share, writing)
            index = Index.of(manifest, writing.contents)
            return index, self._publish(index, writing, writer, progress, tell)
        finally:
            writer.abandon()
            shutil.rmtree(self._partial, ignore_errors=True)

    def _publish(
        self, index: Index, writing: Writing, writer: ShardWriter, progress: Progress, tell: Tell
    ) -> Path | None:
        try:
            if writing.trouble:
                raise writing.trouble
            writer.close()
            self._store.make_room(0, self._partial)  # the last file was begun before its size was known
            places = Places.of([writing.slots[name] for name in index.names])
            reductions = stored_size.digest(self._reduction.factors(index.sizes_N2))
            entry = self._store.publish(self._partial, index, places, self._channels, reductions)
        except OSError as error:
            unavailable(tell, error)
            return None
        size_bytes = int((places.sizes_N2.astype("int64").prod(axis=1) * self._channels).sum())
        message = (
            f"{len(index.names):,} images were decoded in {progress.elapsed_s:.1f} s and are kept for all jobs on this "
            f"worker ({size_bytes / 1e6:,.0f} MB)."
        )
        tell("info", "data_cached", message, images=len(index.names), size_bytes=size_bytes)
        return entry


def unavailable(tell: Tell, error: Exception) -> None:
    """The job goes on without the cache."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    message = f"Decoded images cannot be kept ({reason}): the files are decoded again in every epoch."
    tell("warning", "cache_unavailable", message, reason=reason)
