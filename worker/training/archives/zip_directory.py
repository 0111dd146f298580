"""The directory at a zip file's end (PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.4), and what it must not say.

Readers of zip files differ in where they look for it and in what they believe when it contradicts itself. So it must
stand where it says, end where the end begins, and every entry must lie before it, apart from all others.
"""

import os
import re
import struct
import zlib
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from worker.training.archives.compressed import CHUNK_BYTES, Stream
from worker.training.archives.names import text_of
from worker.training.archives.refusals import Limits, Refused, too_large

_END = struct.Struct("<4s4H2LH")
_END_64_PLACE = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_MEMBER = struct.Struct("<4s6H3L5H2L")
LOCAL_BYTES = 30
_COMMENT_BYTES = 65_535
_UNKNOWN = 0xFFFFFFFF
_UTF8_FLAG = 1 << 11
_EXTRA_64, _EXTRA_NAME = 0x0001, 0x7075


class Directory(NamedTuple):
    """Where the directory lies, and how many entries it says it has."""

    start: int
    size_bytes: int
    entries: int


class Member(NamedTuple):
    """An entry, as the directory has it."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    header_at: int
    mode: int
    """Of Unix; 0 where the archive was made elsewhere."""


def locate(descriptor: int, archive_bytes: int) -> Directory:
    """Find the directory. Raises Refused."""
    tail_at = max(0, archive_bytes - _END.size - _COMMENT_BYTES)
    tail = _read(descriptor, tail_at, archive_bytes - tail_at)
    ends = [each.start() for each in re.finditer(rb"PK\x05\x06", tail) if _reaches_end(tail, each.start())]
    if len(ends) != 1:
        raise Refused("has more than one end" if ends else "is cut off, or has something behind its end")
    _, disk, directory_disk, here, count, size_bytes, start, _ = _END.unpack_from(tail, ends[0])
    end_at = tail_at + ends[0]
    place = _read(descriptor, end_at - _END_64_PLACE.size, _END_64_PLACE.size) if end_at >= _END_64_PLACE.size else b""
    if place.startswith(b"PK\x06\x07"):
        end_at, (disk, directory_disk, here, count, size_bytes, start) = _large(descriptor, place, end_at)
    if disk or directory_disk or here != count:
        raise Refused("is one of several parts")
    if start + size_bytes != end_at or count * _MEMBER.size > size_bytes:
        raise Refused("has a directory that is not where it should be")
    return Directory(start, size_bytes, count)


def members(descriptor: int, directory: Directory) -> Iterator[Member]:
    """The directory, entry by entry; it is never in memory as a whole. Raises Refused."""
    stream = Stream(_pieces(descriptor, directory.start, directory.size_bytes), directory.size_bytes)
    for _ in range(directory.entries):
        yield _member(stream)
    if stream.some(1):
        raise Refused("has a directory with more in it than it says")


def check(found: Iterator[Member], directory: Directory, limits: Limits, allowed_bytes: int) -> npt.NDArray[np.uint64]:
    """Of the whole directory, before anything is unpacked: how many, how much, and that no two entries share bytes.

    Returns where the entries begin, in order, and where the directory does. Raises Refused.
    """
    if directory.entries > limits.entries:
        raise Refused(f"has {directory.entries:,} entries; at most {limits.entries:,} are unpacked")
    starts, ends, total_bytes = array("Q"), array("Q"), 0
    for member in found:
        total_bytes += member.size_bytes
        if total_bytes > allowed_bytes:
            raise too_large(allowed_bytes)
        end = member.header_at + LOCAL_BYTES + len(member.raw_name) + member.packed_bytes
        if end > directory.start:
            raise Refused("overlaps with the directory", member.name)
        starts.append(member.header_at)
        ends.append(end)
    order = np.argsort(starts, kind="stable")
    begins = np.append(np.asarray(starts, np.uint64)[order], np.uint64(directory.start))
    if (np.asarray(ends, np.uint64)[order] > begins[1:]).any():
        raise Refused("has entries that overlap")
    return begins


def _reaches_end(tail: bytes, at: int) -> bool:
    """Whether the comment of the end record that begins here is the rest of the file."""
    return at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail)


def _large(descriptor: int, place: bytes, end_at: int) -> tuple[int, tuple[int, ...]]:
    """Where the end record of 64 bits is, and what it says: disk, directory's disk, entries here, all, size, start."""
    _, disk, at, _ = _END_64_PLACE.unpack(place)
    place_at = end_at - _END_64_PLACE.size
    if disk or at + _END_64.size > place_at:
        raise Refused("has a directory that is not where it should be")
    record = _END_64.unpack(_read(descriptor, at, _END_64.size))
    if record[0] != b"PK\x06\x06" or at + 12 + record[1] != place_at:
        raise Refused("has a directory that is not where it should be")
    return at, record[4:]


def _member(stream: Stream) -> Member:
    fields = _MEMBER.unpack(stream.exactly(_MEMBER.size))
    _, _, _, flags, method, _, _, crc, packed_bytes, size_bytes, *lengths, disk, _, attributes, at = fields
    if fields[0] != b"PK\x01\x02":
        raise Refused("has a damaged directory")
    raw, extra, _ = (stream.exactly(length) for length in lengths)
    fields_64 = [size_bytes, packed_bytes, at, disk]
    extras = _extras(extra, raw)
    if _UNKNOWN in fields_64[:3]:
        fields_64 = _filled(fields_64, extras.get(_EXTRA_64, b""), raw)
    size_bytes, packed_bytes, at, disk = fields_64
    if disk:
        raise Refused("lies in another part of the archive", raw)
    name = _name(raw, flags, extras.get(_EXTRA_NAME, b""))
    return Member(raw, name, flags, method, crc, packed_bytes, size_bytes, at, attributes >> 16)


def _name(raw: bytes, flags: int, extra: bytes) -> str:
    """UTF-8, whether the archive says so or not; or, of programs that use a code page, the UTF-8 name beside that."""
    is_beside = not flags & _UTF8_FLAG and len(extra) > 5 and extra[0] == 1
    if is_beside and int.from_bytes(extra[1:5], "little") == zlib.crc32(raw):
        return text_of(extra[5:])
    return text_of(raw)


def _extras(data: bytes, raw: bytes) -> dict[int, bytes]:
    """The extra fields by their numbers. Padding of less than a header's 4 bytes is usual at the end."""
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        number, length = struct.unpack_from("<2H", data)
        if number in found and number in (_EXTRA_64, _EXTRA_NAME):
            raise Refused("has its size or name twice", raw)
        if length > len(data) - 4:
            raise Refused("has a damaged extra field", raw)
        found[number] = data[4 : 4 + length]
        data = data[4 + length :]
    return found


def _filled(fields: list[int], extra: bytes, raw: bytes) -> list[int]:
    """Size, packed size, offset and disk, with those that need 64 bits taken from the extra field, in this order."""
    numbers = [value for (value,) in struct.iter_unpack("<Q", extra[: len(extra) // 8 * 8])]
    filled = []
    for value in fields[:3]:
        if value == _UNKNOWN and not numbers:
            raise Refused("has a damaged extra field", raw)
        filled.append(numbers.pop(0) if value == _UNKNOWN else value)
    return [*filled, fields[3]]


def _read(descriptor: int, at: int, size_bytes: int) -> bytes:
    data = os.pread(descriptor, size_bytes, at)
    if len(data) < size_bytes:
        raise Refused("is cut off")
    return data


def _pieces(descriptor: int, at: int, size_bytes: int) -> Iterator[bytes]:
    while size_bytes:
        piece = _read(descriptor, at, min(size_bytes, CHUNK_BYTES))
        at, size_bytes = at + len(piece), size_bytes - len(piece)
        yield piece
