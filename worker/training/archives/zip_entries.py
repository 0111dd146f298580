"""zip: its entries in the directory's order, each as its own header says too. Methods: stored, deflate, bzip2."""

import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from worker.training.archives import zip_directory
from worker.training.archives.compressed import CHUNK_BYTES, Engine, Inflate, decompressed, new_bzip2
from worker.training.archives.refusals import Entry, Limits, Refused
from worker.training.archives.zip_directory import LOCAL_BYTES, Member

_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_PATCHED = 1 << 5
_SIZES_BEHIND = 1 << 3
_UNKNOWN = 0xFFFFFFFF
_STORED = 0
_ENGINES: dict[int, Callable[[], Engine]] = {8: lambda: Inflate(-15), 12: new_bzip2}


def entries(file: BinaryIO, archive_bytes: int, limits: Limits) -> Iterator[Entry]:
    """All files and folders. Raises Refused for everything else; for much of it before the first entry."""
    descriptor = file.fileno()
    directory = zip_directory.locate(descriptor, archive_bytes)
    begins = zip_directory.check(
        zip_directory.members(descriptor, directory), directory, limits, limits.allowed_bytes(archive_bytes)
    )
    for member in zip_directory.members(descriptor, directory):
        is_folder = _is_folder(member)
        follows_at = int(begins[np.searchsorted(begins, np.uint64(member.header_at), side="right")])
        data_at = _data_at(descriptor, member, follows_at)
        yield Entry(member.name, is_folder, member.size_bytes, _content(descriptor, member, data_at), data_at)


def _is_folder(member: Member) -> bool:
    """Raises Refused for what is neither a folder nor a plain file that can be read."""
    kind = stat.S_IFMT(member.mode)
    is_folder = member.name.endswith("/") or kind == stat.S_IFDIR
    if kind == stat.S_IFLNK:
        raise Refused("is a symbolic link", member.name)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Refused("is a device or pipe", member.name)
    if is_folder and (member.size_bytes or kind == stat.S_IFREG):
        raise Refused("is a folder with a content", member.name)
    if member.flags & _ENCRYPTED:
        raise Refused("is encrypted", member.name)
    if member.flags & _PATCHED or member.method not in (_STORED, *_ENGINES):
        raise Refused(f"is compressed by method {member.method}: use deflate, or none", member.name)
    if member.method == _STORED and member.packed_bytes != member.size_bytes:
        raise Refused("holds another number of bytes than it says", member.name)
    return is_folder


def _data_at(descriptor: int, member: Member, follows_at: int) -> int:
    """Where the data begin. Raises Refused when the entry's own header says something else than the directory."""
    header = os.pread(descriptor, LOCAL_BYTES, member.header_at)
    if len(header) < LOCAL_BYTES or not header.startswith(b"PK\x03\x04"):
        raise Refused("is not where the directory says", member.name)
    _, _, flags, method, _, _, crc, packed_bytes, size_bytes, name_bytes, extra_bytes = _LOCAL.unpack(header)
    told = [(method, member.method), (flags & _ENCRYPTED, 0)]
    if not flags & _SIZES_BEHIND:
        told.append((crc, member.crc))
        told += [(size_bytes, member.size_bytes)] if size_bytes != _UNKNOWN else []
        told += [(packed_bytes, member.packed_bytes)] if packed_bytes != _UNKNOWN else []
    name = os.pread(descriptor, name_bytes, member.header_at + LOCAL_BYTES)
    if name != member.raw_name or any(here != there for here, there in told):
        raise Refused("has a header that says something else than the directory", member.name)
    data_at = member.header_at + LOCAL_BYTES + name_bytes + extra_bytes
    if data_at + member.packed_bytes > follows_at:
        raise Refused("overlaps with another entry", member.name)
    return data_at


def _content(descriptor: int, member: Member, at: int) -> Iterator[bytes]:
    """The bytes, unpacked; neither more nor less than the directory says, and with the right checksum."""
    crc, left_bytes = 0, member.size_bytes
    for piece in _unpacked(descriptor, member, at):
        crc = zlib.crc32(piece, crc)
        left_bytes -= len(piece)
        if left_bytes < 0:
            raise Refused("holds more bytes than it says", member.name)
        yield piece
    if left_bytes:
        raise Refused("holds fewer bytes than it says", member.name)
    if crc != member.crc:
        raise Refused("is damaged: its checksum is wrong", member.name)


def _unpacked(descriptor: int, member: Member, at: int) -> Iterator[bytes]:
    packed = _packed(descriptor, member, at)
    if member.method == _STORED:
        yield from packed
        return
    engine = _ENGINES[member.method]()
    data = b""
    while not engine.eof:
        if engine.needs_input:
            data = next(packed, b"")
            if not data:
                raise Refused("is cut off", member.name)
        if piece := decompressed(engine, data, member.name):
            yield piece
        data = b""
    if engine.unused_data or next(packed, b""):
        raise Refused("has something behind its data", member.name)


def _packed(descriptor: int, member: Member, at: int) -> Iterator[bytes]:
    end = at + member.packed_bytes
    while at < end:
        piece = os.pread(descriptor, min(CHUNK_BYTES, end - at), at)
        if not piece:
            raise Refused("is cut off", member.name)
        at += len(piece)
        yield piece
