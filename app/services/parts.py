"""An upload while it comes in: one file, which one request at a time may write, and of which all or nothing is kept.

The lock is the kernel's (flock): it ends with the process that holds it, however that ends, and it holds between
replicas that share the storage.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from app.errors import Conflict, StorageFull

T = TypeVar("T")
PART = "archive.part"
LOOK_EVERY_BYTES = 64 << 20
"""Between two looks at the room on the disk."""
TRIES, TRY_EVERY_S = 5, 0.02
"""A lock that is held by a request is held for longer than by `received_bytes`."""

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Part:
    """The file, open and locked. Its methods block; they may be called from any thread, and by several at once."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self.path = folder / PART
        self.size_bytes = 0
        self._min_free_bytes = min_free_bytes
        self._look_at_bytes = 0
        self._hash = hashlib.sha256()
        self._turn = threading.Lock()  # a request that is cancelled does not take its thread along
        self._descriptor: int | None = _opened(self.path)

    @property
    def sha256(self) -> bytes:
        """Of all that was written."""
        return self._hash.digest()

    def make_room(self, size_bytes: int) -> None:
        """Raises `StorageFull` when so much more does not fit on the disk."""
        free_bytes = shutil.disk_usage(self.path.parent).free
        if free_bytes < size_bytes + self._min_free_bytes:
            detail = f"The storage has no room for {size_bytes} bytes more. Free some space, then send it again."
            raise StorageFull(detail)

    def write(self, data: bytes) -> None:
        """Append. Raises `StorageFull`."""
        with self._turn:
            if self._descriptor is None:
                return
            if self.size_bytes >= self._look_at_bytes:
                self.make_room(len(data))
                self._look_at_bytes = self.size_bytes + LOOK_EVERY_BYTES
            self._hash.update(data)
            self._append(self._descriptor, data)

    def sync(self) -> None:
        """Return when all of it is on the disk. Raises `StorageFull`."""
        with self._turn:
            if self._descriptor is not None:
                _told_if_full(os.fsync, self._descriptor)

    def keep(self, name: str) -> None:
        """Give the file its final name."""
        target = self.path.with_name(name)
        self.path.rename(target)
        descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let the next one try. What was not kept is gone, and the folder too if it was all that was in it."""
        with self._turn:
            if self._descriptor is None:
                return
            if _is_at(self.path, self._descriptor):
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
        with suppress(OSError):
            self.path.parent.rmdir()

    def _append(self, descriptor: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            written = _told_if_full(os.write, descriptor, left)
            left = left[written:]
            self.size_bytes += written


def remove_idle(folder: Path, before: float) -> None:
    """Remove a part that no request holds and that was last written before this time (seconds since 1970)."""
    path = folder / PART
    with suppress(OSError):
        if path.stat().st_mtime < before and not is_held(folder):
            path.unlink()


def is_held(folder: Path) -> bool:
    """Whether a request is writing there just now."""
    return received_bytes(folder) is not None


def received_bytes(folder: Path) -> int | None:
    """How much has come of what a request is writing there just now; null when there is none."""
    try:
        descriptor = os.open(folder / PART, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    return None


def _opened(path: Path) -> int:
    """A new, locked, empty file. Raises `Conflict` when another request holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = _told_if_full(os.open, path, _OPEN, 0o600)
        except FileNotFoundError:  # whoever was there before us has just removed the folder
            continue
        try:
            _take(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise Conflict("Another request is sending this archive.", state="importing") from None
        if _is_at(path, descriptor):
            os.ftruncate(descriptor, 0)  # what a process left that was killed
            return descriptor
        os.close(descriptor)


def _take(descriptor: int) -> None:
    """Lock it. Raises BlockingIOError when another request holds it, and not when somebody looks whether one does."""
    for _ in range(TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(TRY_EVERY_S)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the path still names this file."""
    mine = os.fstat(descriptor)
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _told_if_full(call: Callable[..., T], *arguments: Any) -> T:
    try:
        return call(*arguments)
    except OSError as error:
        if error.errno in _NO_ROOM:
            detail = "The disk of the storage is full. Nothing was kept: free some space, then send it again."
            raise StorageFull(detail) from error
        raise
