"""The folder into which an archive is unpacked: it makes sure of names and bounds before anything is written."""

import os
from pathlib import Path

from worker.training.archives.names import folded, is_litter, parts_of
from worker.training.archives.refusals import Entry, Limits, Refused, too_large

LOOK_EVERY_BYTES = 64 << 20
"""Between two looks at the room on the disk."""

_CASE = "differs from another one in upper and lower case, or accents, alone"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NoRoom(OSError):
    """Less of the disk would stay free than must."""


class Tree:
    """A new folder, of which nothing is known outside. Links cannot be in it, since none are made."""

    def __init__(self, folder: Path, limits: Limits, archive_bytes: int) -> None:
        self._folder = folder
        self._limits = limits
        self._allowed_bytes = limits.allowed_bytes(archive_bytes)
        self._written_bytes = 0
        self._look_at_bytes = 0
        self._count = 0
        self._files: set[int] = set()  # hashes: 70 bytes a file, whatever its name
        self._folders: dict[str, str] = {"": ""}  # by the name in which case does not count
        self._last_folder = ""

    @property
    def files(self) -> int:
        """How many there are."""
        return len(self._files)

    def add(self, entry: Entry) -> None:
        """Write one entry. Raises Refused, and OSError when the disk has no room."""
        parts = parts_of(entry.name)
        if entry.size_bytes > self._limits.file_bytes:
            raise Refused(f"is larger than {self._limits.file_bytes:,} bytes", entry.name)
        self._count_one()
        if is_litter(parts) or not parts:
            for piece in entry.content:
                self._take(len(piece))
        elif entry.is_folder:
            self._enter("/".join(parts), entry.name)
            for _ in entry.content:  # empty, but its end may be wrong
                pass
        else:
            self._enter("/".join(parts[:-1]), entry.name)
            self._write("/".join(parts), entry)

    def _write(self, path: str, entry: Entry) -> None:
        key = folded(path)
        if hash(key) in self._files or key in self._folders:
            is_same = (self._folder / path).exists()
            raise Refused("is there twice" if is_same else _CASE, entry.name)
        self._files.add(hash(key))
        with os.fdopen(os.open(self._folder / path, _NEW_FILE, 0o644), "wb") as file:
            for piece in entry.content:
                self._take(len(piece))
                file.write(piece)

    def _enter(self, path: str, name: str) -> None:
        """Make the folder and those above it, where they are missing."""
        if path == self._last_folder:
            return
        above, _, _ = path.rpartition("/")
        key = folded(path)
        if key not in self._folders:
            self._enter(above, name)
            if hash(key) in self._files:
                raise Refused("needs a folder where a file is", name)
            self._count_one()
            (self._folder / path).mkdir(0o755)
            self._folders[key] = path
        elif self._folders[key] != path:
            raise Refused(_CASE, name)
        self._last_folder = path

    def _count_one(self) -> None:
        self._count += 1
        if self._count > self._limits.entries:
            raise Refused(f"has more than {self._limits.entries:,} files and folders")

    def _take(self, size_bytes: int) -> None:
        self._written_bytes += size_bytes
        if self._written_bytes > self._allowed_bytes:
            raise too_large(self._allowed_bytes)
        if self._written_bytes > self._look_at_bytes:
            self._look_at_bytes = self._written_bytes + LOOK_EVERY_BYTES
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < self._limits.free_bytes:
                raise NoRoom(f"less than {self._limits.free_bytes:,} bytes would stay free")
