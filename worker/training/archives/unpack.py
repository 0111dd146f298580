"""From an archive to a folder: all of it or nothing, and again from the start after a crash at any moment."""

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from app.contract.failures import FailureCode
from worker.training.archives import tar_entries, zip_entries
from worker.training.archives.compressed import Stream, new_bzip2, new_gzip, new_xz, plain, unpacked
from worker.training.archives.names import is_litter
from worker.training.archives.refusals import Entry, Limits, Refused
from worker.training.archives.tree import NoRoom, Tree
from worker.training.errors import RunFailure

_COMPRESSIONS = {b"\x1f\x8b": new_gzip, b"BZh": new_bzip2, b"\xfd7zXZ\0": new_xz}
_UNREAD = {b"(\xb5/\xfd": "zstd", b"Rar!": "rar", b"7z\xbc\xaf\x27\x1c": "7z", b"\x04\x22\x4d\x18": "lz4"}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_WRAPPERS = 8
"""Folders around folders that are seen through."""

Tell = Callable[[int, int, int], None]
"""(files unpacked, bytes of the archive behind them, all its bytes)."""


def unpack(archive: Path, target: Path, limits: Limits, tell: Tell = lambda _files, _seen, _bytes: None) -> None:
    """Make the folder `target` of the archive's files, and remove the archive. Nothing happens where that was done.

    `tell` is called after each entry. Raises RunFailure: BAD_DATASET for an archive that is refused, DISK_FULL. Nothing
    is left behind then.
    """
    for old in target.parent.glob(f"{target.name}.*.part"):  # of programs that were killed
        shutil.rmtree(old, ignore_errors=True)
    if not target.exists():
        _make(archive, target, limits, tell)
    archive.unlink(missing_ok=True)


def entries(file: BinaryIO, archive_bytes: int, limits: Limits) -> Iterator[Entry]:
    """All entries of an archive, whatever it is. Raises Refused."""
    begin = file.read(tar_entries.BLOCK_BYTES)
    file.seek(0)
    if begin.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return zip_entries.entries(file, archive_bytes, limits)
    for magic, name in _UNREAD.items():
        if begin.startswith(magic):
            raise Refused(f"is compressed by {name}: send a zip, or a tar that is plain or .gz, .bz2 or .xz")
    new = next((new for magic, new in _COMPRESSIONS.items() if begin.startswith(magic)), None)
    if new is None and not tar_entries.looks_like_tar(begin):
        raise Refused("is neither a zip nor a tar file")
    pieces = plain(file) if new is None else unpacked(file, new)
    return tar_entries.entries(Stream(pieces, limits.allowed_bytes(archive_bytes)))


def _make(archive: Path, target: Path, limits: Limits, tell: Tell) -> None:
    part = target.with_name(f"{target.name}.{secrets.token_hex(8)}.part")
    try:
        part.mkdir(0o755)
        _fill(part, archive, limits, tell)
        _settle(part, target)
    except Refused as refusal:
        archive.unlink(missing_ok=True)
        raise RunFailure(FailureCode.BAD_DATASET, str(refusal)) from refusal
    except OSError as error:
        if not isinstance(error, NoRoom) and error.errno not in _NO_ROOM:
            raise
        archive.unlink(missing_ok=True)
        raise RunFailure(FailureCode.DISK_FULL, f"The archive could not be unpacked: {error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill(part: Path, archive: Path, limits: Limits, tell: Tell) -> None:
    with archive.open("rb") as file:
        archive_bytes = os.fstat(file.fileno()).st_size
        tree = Tree(part, limits, archive_bytes)
        for entry in entries(file, archive_bytes, limits):
            tree.add(entry)
            tell(tree.files, file.tell() if entry.begins_at is None else entry.begins_at, archive_bytes)
    if not tree.files:
        raise Refused("holds no files")


def _settle(part: Path, target: Path) -> None:
    """To the disk, and under its name. Where another program was faster, its folder stays."""
    _sync(part)
    try:
        _inside(part).rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    _sync(target.parent)


def _inside(folder: Path) -> Path:
    """The folder behind those that only wrap it: `flowers/rose/1.jpg` is class `rose`."""
    for _ in range(_WRAPPERS):
        found = [entry for entry in folder.iterdir() if not is_litter((entry.name,))]
        if len(found) != 1 or not found[0].is_dir() or found[0].name in ("train", "val") or not _is_set(found[0]):
            break
        folder = found[0]
    return folder


def _is_set(folder: Path) -> bool:
    """Whether a data set could begin here: with folders, or with a list of files."""
    return any(entry.is_dir() or entry.suffix.lower() == ".csv" for entry in folder.iterdir())


def _sync(folder: Path) -> None:
    """All that was written to this file system: one call, where one for each of a million files takes an hour."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(descriptor)
