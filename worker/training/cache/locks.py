"""Locks on files that end with the process which holds them, however it ends."""

import fcntl
import os
from pathlib import Path


def share(path: Path) -> int:
    """A descriptor that keeps `path` from being removed by those who ask first. Raises OSError when it is gone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not _is_still(path, descriptor):
        os.close(descriptor)
        raise FileNotFoundError(f"{path} was removed")
    return descriptor


def take(path: Path, *, create: bool = False) -> int | None:
    """A descriptor that nobody else has at the same time, to be closed; null when somebody has one."""
    descriptor = os.open(path, (os.O_RDWR | os.O_CREAT if create else os.O_RDONLY) | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not _is_still(path, descriptor):  # the holder before removed it: there is another file now, or none
        os.close(descriptor)
        return take(path, create=create)
    return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
