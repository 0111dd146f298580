"""The folder of the cache: entries found, held, published, and removed when room is needed."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from app.contract.datasets import RefusedFile
from app.contract.faults import Point, reach
from worker.training.cache import index, locks
from worker.training.cache.index import Index, Unreadable
from worker.training.cache.shards import Damaged, Places, ShardReader, name

VARIABLE_DIR, VARIABLE_BYTES = "TRAINYARD_CACHE_DIR", "TRAINYARD_CACHE_BYTES"
_DISK_SHARE = 5  # without a quota: a fifth of the disk,
_FREE_SHARE = 50  # and in any case a fiftieth of it stays free for others
_ENTRY, _INDEX = "entry.json", "index.safetensors"


class Entry:
    """An entry that this process reads; it stays on the disk as long as this object lives."""

    def __init__(self, folder: Path, hold: int) -> None:
        """`hold`: the descriptor that keeps it there; from now on the entry's own. Raises Damaged."""
        self.folder = folder
        self._hold = hold
        try:
            said = json.loads((folder / _ENTRY).read_bytes())
            self._compare(said)
            self.index, columns, _ = index.read(folder / _INDEX)
            self.channels = int(said["channels"])
            self.reductions = str(said["reductions"])
            self._places = Places.from_columns(columns)
            self._shards = len(said["shards"])
        except (OSError, ValueError, KeyError, TypeError, Unreadable) as error:
            raise Damaged(f"{folder.name}: {error}") from error

    def reader(self) -> ShardReader:
        """The pixels. Raises Damaged."""
        try:
            return ShardReader(self.folder, self._places, self.channels, self._shards)
        except OSError as error:
            raise Damaged(f"{self.folder.name}: {error}") from error

    def close(self) -> None:
        """Let it be removed."""
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1

    def __del__(self) -> None:
        self.close()

    def _compare(self, said: dict[str, Any]) -> None:
        """What costs nothing: the sizes of the files, and the hash of the small one."""
        if hashlib.sha256((self.folder / _INDEX).read_bytes()).hexdigest() != said["index_sha256"]:
            raise Damaged(f"{self.folder.name}/{_INDEX} is not what was written")
        for number, size_bytes in enumerate(said["shards"]):
            if (self.folder / name(number)).stat().st_size != size_bytes:
                raise Damaged(f"{self.folder.name}/{name(number)} is not as long as it was written")


def open_entry(folder: Path) -> Entry | None:
    """An entry, held; null when there is none. Raises Damaged."""
    try:
        hold = locks.share(folder / _ENTRY)
    except OSError:
        return None
    entry = Entry(folder, hold)
    with suppress(OSError):
        os.utime(folder / _ENTRY)  # used last
    return entry


def discard(folder: Path) -> None:
    """Take the name from a damaged entry, and remove it; who reads it keeps the files that it has open."""
    aside = folder.with_name(f".{folder.name.lstrip('.')}.{os.getpid()}.removed")
    with suppress(OSError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


class Memo(NamedTuple):
    """What is known of a folder by its path. Files that were refused are the folder's own: an entry belongs to all
    folders with the same usable files."""

    fingerprint: str
    """Of the folder when it was read; empty where it may have changed meanwhile."""
    sha256: str
    """Of its content."""
    refused: list[RefusedFile]
    refused_count: int


class Store:
    """Entries on one disk of a worker, no more than the quota."""

    def __init__(self, root: Path, quota_bytes: int | None = None) -> None:
        """Raises OSError when the folder cannot be made or written."""
        self.sets, self._folders = root / "sets", root / "folders"
        for folder in (self.sets, self._folders):
            folder.mkdir(parents=True, exist_ok=True)
        self._quota_bytes = quota_bytes if quota_bytes is not None else shutil.disk_usage(root).total // _DISK_SHARE

    @classmethod
    def of_environment(cls) -> "Store | None":
        """As the worker was told; null when it was told to keep nothing. Raises OSError, ValueError."""
        home = os.environ.get("TRAINYARD_HOME") or "~/.trainyard"
        root = os.environ.get(VARIABLE_DIR) or f"{home}/cache"
        given = os.environ.get(VARIABLE_BYTES)
        quota_bytes = int(given) if given else None
        return None if quota_bytes == 0 else cls(Path(root).expanduser().absolute(), quota_bytes)

    def known(self, sha256: str) -> Iterator[Path]:
        """The entries of a content."""
        return self.sets.glob(f"{sha256[:32]}-*")

    def path(self, sha256: str, channels: int, reductions: str) -> Path:
        """Where an entry is, if it is there. `reductions`: the digest of `stored_size`."""
        return self.sets / f"{sha256[:32]}-{channels}-{reductions[:16] or 'whole'}"

    def publish(self, partial: Path, found: Index, places: Places, channels: int, reductions: str) -> Path:
        """Give what was built its name. Raises OSError.

        Nothing is synced: waiting for the disk took half of a first epoch. What a power cut takes is found when the
        entry is opened, by sizes and the index's hash, or when an image is read, by its checksum.
        """
        shards = [file.stat().st_size for file in sorted(partial.glob("pixels-*.bin"))]
        replace(found, refused=[], refused_count=0).write(partial / _INDEX, places.columns())
        digest = hashlib.sha256((partial / _INDEX).read_bytes()).hexdigest()
        said = {"index_sha256": digest, "channels": channels, "reductions": reductions, "shards": shards}
        (partial / _ENTRY).write_text(json.dumps(said))
        reach(Point.CACHED_BEFORE_RENAME)
        final = self.path(found.sha256, channels, reductions)
        if (final / _ENTRY).exists():
            shutil.rmtree(partial)  # another job was faster, from the same files elsewhere
            return final
        if final.exists():
            discard(final)  # somebody removed a part of it
        partial.rename(final)
        return final

    def recall(self, folder: str) -> Memo | None:
        """What a folder was found to have."""
        try:
            said = json.loads(self._memo(folder).read_bytes())
            refused = [RefusedFile.model_validate(each) for each in said["refused"]]
            return Memo(str(said["fingerprint"]), str(said["sha256"]), refused, int(said["refused_count"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, folder: str, memo: Memo) -> None:
        """For the next time; a disk that is full forgets it."""
        file = self._memo(folder)
        part = file.with_name(f".{file.name}.{os.getpid()}")
        said = memo._asdict() | {"refused": [each.model_dump() for each in memo.refused]}
        with suppress(OSError):
            part.write_text(json.dumps(said))
            part.replace(file)

    def make_room(self, more_bytes: int, mine: Path) -> None:
        """Remove what was used least lately and nobody reads. Raises OSError(ENOSPC) where that does not do."""
        while reason := self._shortage(more_bytes):
            if not self._drop_one(mine):
                raise OSError(errno.ENOSPC, reason)

    def _memo(self, folder: str) -> Path:
        return self._folders / f"{hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:32]}.json"

    def _shortage(self, more_bytes: int) -> str:
        used_bytes = sum(map(_size, self.sets.iterdir()))
        if used_bytes + more_bytes > self._quota_bytes:
            return f"more than the quota of {self._quota_bytes >> 20} MiB would be needed"
        disk = shutil.disk_usage(self.sets)
        return "the disk is nearly full" if disk.free - more_bytes < disk.total // _FREE_SHARE else ""

    def _drop_one(self, mine: Path) -> bool:
        """Leftovers first, then the entry that was used least lately."""
        for path in sorted(self.sets.iterdir(), key=_last_used):
            if path != mine and path.is_dir() and self._drop(path):
                return True
        return False

    @staticmethod
    def _drop(path: Path) -> bool:
        lock = path.with_suffix(".lock") if path.suffix == ".partial" else path / _ENTRY
        if path.suffix == ".removed" or (path.suffix != ".partial" and not lock.exists()):
            shutil.rmtree(path, ignore_errors=True)  # the rest of one that was removed before
            return not path.exists()
        try:
            hold = locks.take(lock, create=path.suffix == ".partial")
        except OSError:
            hold = None
        if hold is None:
            return False
        discard(path)
        if path.suffix == ".partial":
            lock.unlink(missing_ok=True)
        os.close(hold)
        return not path.exists()


def _size(path: Path) -> int:
    if not path.is_dir():
        return 0
    with suppress(OSError):
        return sum(file.stat().st_size for file in path.iterdir())
    return 0


def _last_used(path: Path) -> float:
    with suppress(OSError):
        return 0.0 if path.name.startswith(".") else (path / _ENTRY).stat().st_mtime
    return 0.0
