"""Whether a folder is as it was: names, sizes, times and inodes of its files, without reading one."""

import hashlib
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

_TICK_NS = 100_000_000  # ten ticks of the slowest kernel clock
_COARSE_TICK_NS = 2_000_000_000  # of file systems that keep whole seconds


class Fingerprint(NamedTuple):
    """Of a folder with all below it. Two that are equal stand for the same content, if the first was `settled`."""

    sha256: str
    settled: bool
    """Nothing in it is so young that a change to come could get the same times."""


def take(folder: str) -> Fingerprint:
    """Look at every file's entry; a folder that cannot be listed is as good as empty here, its check will tell."""
    digest = hashlib.sha256()
    newest_ns, begun_ns = 0, time.time_ns()
    for name, found in _entries(os.path.realpath(folder), ""):
        line = (found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if found else ()
        digest.update(f"{name}\0{line}\n".encode("utf-8", "surrogateescape"))
        newest_ns = max(newest_ns, *line[3:], 0)
    tick_ns = _COARSE_TICK_NS if newest_ns % 1_000_000_000 == 0 else _TICK_NS
    return Fingerprint(digest.hexdigest(), newest_ns + tick_ns < begun_ns)


def _entries(folder: str, below: str) -> Iterator[tuple[str, os.stat_result | None]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        name = f"{below}/{entry.name}"
        try:
            yield name, entry.stat()  # of what a link leads to: its content is what counts
            is_folder = entry.is_dir(follow_symlinks=False)
        except OSError:
            yield name, None
            continue
        if is_folder:
            yield from _entries(entry.path, name)
