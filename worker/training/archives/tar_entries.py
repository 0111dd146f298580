"""tar, read forward: ustar, GNU and pax (POSIX.1-2017, `pax` utility, and GNU tar's manual, "Basic Tar Format")."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from worker.training.archives.compressed import Stream
from worker.training.archives.names import text_of
from worker.training.archives.refusals import Entry, Refused

BLOCK_BYTES = 512
EXTENSION_BYTES = 1 << 20
"""Of one extension header: names and attributes; more than any system writes."""

_REGULAR, _FOLDER = b"0\0007", b"5"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_REFUSED = {
    b"1": "is a hard link",
    b"2": "is a symbolic link",
    b"3": "is a device",
    b"4": "is a device",
    b"6": "is a pipe",
    b"S": "is a sparse file",
}
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_UTF8 = b"ISO-IR 10646 2000 UTF-8"


@dataclass
class _Header:
    name: bytes
    size_bytes: int
    kind: bytes


@dataclass
class _Told:
    """What extension headers say of the entry behind them."""

    name: bytes | None = None
    size_bytes: int | None = None
    is_said: bool = False


def looks_like_tar(block: bytes) -> bool:
    """Whether this begins like one: a header with the right checksum, or the end of an empty one."""
    return len(block) >= BLOCK_BYTES and (not any(block[:BLOCK_BYTES]) or _has_checksum(block[:BLOCK_BYTES]))


def entries(stream: Stream) -> Iterator[Entry]:
    """All files and folders, in their order. Raises Refused for everything else."""
    told = _Told()
    while (header := _next_header(stream)) is not None:
        if header.kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            _hear(told, header, _extension(stream, header))
            continue
        size_bytes = header.size_bytes if told.size_bytes is None else told.size_bytes
        content = stream.pieces(size_bytes)
        yield _entry(header, told, size_bytes, content)
        for _ in content:  # what nobody wanted
            pass
        stream.exactly(-size_bytes % BLOCK_BYTES)
        told = _Told()
    if told.is_said:
        raise Refused("ends where an entry should follow")
    _check_end(stream)


def _next_header(stream: Stream) -> _Header | None:
    block = stream.exactly(BLOCK_BYTES)
    if not any(block):
        return None
    if not _has_checksum(block):
        raise Refused("is damaged: a header has a wrong checksum")
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _Header(prefix + b"/" + name if prefix else name, _number(block[124:136]), block[156:157])


def _has_checksum(block: bytes) -> bool:
    """Old programs added the bytes up as signed ones."""
    told = _OCTAL.fullmatch(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    return told is not None and int(told[1], 8) in (sum(rest), sum(rest) - 256 * sum(byte > 127 for byte in rest))


def _number(field: bytes) -> int:
    """Octal digits; or, where the first bit is set, 95 bits of a binary number (GNU)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = _OCTAL.fullmatch(field)
    if digits is None and field.strip(b" \0"):
        raise Refused("is damaged: a header has a wrong size")
    return int(digits[1], 8) if digits else 0


def _extension(stream: Stream, header: _Header) -> bytes:
    if header.size_bytes > EXTENSION_BYTES:
        raise Refused(f"has an extension header of {header.size_bytes:,} bytes")
    data = stream.exactly(header.size_bytes)
    stream.exactly(-header.size_bytes % BLOCK_BYTES)
    return data


def _hear(told: _Told, header: _Header, data: bytes) -> None:
    if header.kind == _PAX_GLOBAL:
        if _pax(data) != _Told():
            raise Refused("has a header that gives many entries one name or size")
        return
    told.is_said = True
    if header.kind == _LONG_NAME:
        _tell_name(told, data.partition(b"\0")[0])
    elif header.kind == _PAX:
        found = _pax(data)
        if found.name is not None:
            _tell_name(told, found.name)
        if told.size_bytes is not None and found.size_bytes is not None:
            raise Refused("has an entry whose size is told twice")
        told.size_bytes = found.size_bytes if told.size_bytes is None else told.size_bytes


def _tell_name(told: _Told, name: bytes) -> None:
    if told.name is not None:
        raise Refused("has an entry whose name is told twice", name)
    told.name = name


def _pax(data: bytes) -> _Told:
    """The records that matter to us. All others (times, owners, attributes) are left out."""
    told = _Told()
    for key, value in _records(data):
        if key.startswith(b"GNU.sparse"):
            raise Refused("holds a sparse file")
        if key == b"hdrcharset" and value != _UTF8:
            raise Refused("has names that are not UTF-8")
        if key == b"path":
            _tell_name(told, value)
        elif key == b"size":
            if told.size_bytes is not None or not re.fullmatch(rb"[0-9]{1,20}", value):
                raise Refused("is damaged: an extension header has a wrong size")
            told.size_bytes = int(value)
    return told


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """`LENGTH KEY=VALUE` and a line feed, the length being that of all of it."""
    position = 0
    while position < len(data):
        digits = re.match(rb"([1-9][0-9]{0,7}) ", data[position : position + 9])
        end = position + int(digits[1]) if digits else 0
        record = data[position + digits.end() : end] if digits else b""
        key, equals, value = record.partition(b"=")
        if not equals or not key or end > len(data) or record[-1:] != b"\n":
            raise Refused("is damaged: an extension header cannot be read")
        yield key, value[:-1]
        position = end


def _entry(header: _Header, told: _Told, size_bytes: int, content: Iterator[bytes]) -> Entry:
    raw = header.name if told.name is None else told.name
    if header.kind in _REFUSED:
        raise Refused(_REFUSED[header.kind], raw)
    if header.kind not in _REGULAR and header.kind != _FOLDER:
        raise Refused(f"is of the kind {header.kind.decode('latin-1')!r}, which is neither a file nor a folder", raw)
    name = text_of(raw)
    if "\0" in name or not name:
        raise Refused("has no name, or a NUL in it", raw)
    is_folder = header.kind == _FOLDER or name.endswith("/")
    if is_folder and size_bytes:
        raise Refused("is a folder with a content", raw)
    return Entry(name, is_folder, size_bytes, content)


def _check_end(stream: Stream) -> None:
    """Zeros, to the end of the compressed data, whose checksum stands there."""
    while piece := stream.some(BLOCK_BYTES):
        if any(piece):
            raise Refused("goes on behind its end")
