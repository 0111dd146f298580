"""Why an archive is refused, the bounds within which one is unpacked, and an entry of one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

ENTRIES = 2_000_000
FILE_BYTES = 4 << 30
RATIO = 200
"""Photographs shrink by 1 to 3, blank BMP files by some 100; deflate by 1,032 at most, bzip2 and xz by far more."""
RATIO_FREE_BYTES = 64 << 20
"""So much may come out of an archive of any size."""


class Refused(Exception):
    """The archive is not unpacked. `name`: the entry that is to blame; without one, the archive as a whole is."""

    def __init__(self, reason: str, name: str | bytes | None = None) -> None:
        super().__init__(f"The archive {reason}." if name is None else f"The archive's entry {shown(name)} {reason}.")


@dataclass(frozen=True)
class Limits:
    """What may come out of one archive. `free_bytes` of the disk stay free."""

    unpacked_bytes: int
    free_bytes: int = 0
    entries: int = ENTRIES
    file_bytes: int = FILE_BYTES

    def allowed_bytes(self, archive_bytes: int) -> int:
        """How much an archive of this size may unpack to, in all."""
        return min(self.unpacked_bytes, RATIO * archive_bytes + RATIO_FREE_BYTES)


class Entry(NamedTuple):
    """One file or folder of an archive. `content` must be read, as far as it is wanted, before the next entry is."""

    name: str
    is_folder: bool
    size_bytes: int
    content: Iterator[bytes]
    begins_at: int | None = None
    """Its place in the archive, where that is not as far as the archive's file was read."""


def shown(name: str | bytes) -> str:
    """A name as it fits into a message: on one line, without what steers a terminal, at most some 200 characters."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    plain = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[:1000])
    return repr(plain if len(plain) <= 200 else f"{plain[:99]}...{plain[-98:]}")


def too_large(allowed_bytes: int) -> Refused:
    """More comes out of the archive than it may hold."""
    return Refused(f"unpacks to more than {allowed_bytes:,} bytes, which is the most for one of its size")
