"""Compressed bytes as a stream that is read forward, in pieces of bounded size, and never beyond a limit."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from worker.training.archives.refusals import Refused, too_large

CHUNK_BYTES = 1 << 18
_XZ_MEMORY_BYTES = 256 << 20
"""`xz -9` needs 65 MiB to be unpacked; a header may ask for 4 GiB."""


class Engine(Protocol):
    """What `bz2.BZ2Decompressor` and `lzma.LZMADecompressor` are."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class Inflate:
    """zlib in the same form. `window`: -15 for raw deflate, 31 for gzip."""

    def __init__(self, window: int) -> None:
        self._engine = zlib.decompressobj(window)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether the compressed data has ended, with the right checksum."""
        return self._engine.eof

    @property
    def unused_data(self) -> bytes:
        """What was given behind that end."""
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        """At most `max_length` bytes. Filled to the brim, it may hold more without needing input."""
        piece = self._engine.decompress(self._engine.unconsumed_tail + data, max_length)
        self.needs_input = not self._engine.unconsumed_tail and len(piece) < max_length
        return piece


class Stream:
    """Bytes that are read once, forward. Raises Refused behind `limit_bytes`."""

    def __init__(self, pieces: Iterator[bytes], limit_bytes: int) -> None:
        self._pieces = pieces
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes
        self._chunk = b""
        self._position = 0

    def some(self, size_bytes: int) -> bytes:
        """At least one byte and at most so many; empty at the end."""
        if self._position == len(self._chunk):
            self._chunk, self._position = next(self._pieces, b""), 0
            self._left_bytes -= len(self._chunk)
            if self._left_bytes < 0:
                raise too_large(self._limit_bytes)
        piece = self._chunk[self._position : self._position + size_bytes]
        self._position += len(piece)
        return piece

    def read(self, size_bytes: int) -> bytes:
        """So many bytes; fewer only at the end."""
        pieces = []
        while size_bytes and (piece := self.some(size_bytes)):
            pieces.append(piece)
            size_bytes -= len(piece)
        return b"".join(pieces)

    def exactly(self, size_bytes: int) -> bytes:
        """So many bytes. Raises Refused when there are fewer."""
        data = self.read(size_bytes)
        if len(data) < size_bytes:
            raise Refused("is cut off")
        return data

    def pieces(self, size_bytes: int) -> Iterator[bytes]:
        """So many bytes, piece by piece. Raises Refused when there are fewer."""
        while size_bytes:
            piece = self.some(min(size_bytes, CHUNK_BYTES))
            if not piece:
                raise Refused("is cut off")
            size_bytes -= len(piece)
            yield piece


def plain(file: BinaryIO) -> Iterator[bytes]:
    """The file as it is."""
    while piece := file.read(CHUNK_BYTES):
        yield piece


def unpacked(file: BinaryIO, new: Callable[[], Engine]) -> Iterator[bytes]:
    """What compressed data unpacks to: one or more streams behind one another. Raises Refused."""
    data = file.read(CHUNK_BYTES)
    while data:
        engine = new()
        while not engine.eof:
            if piece := decompressed(engine, data):
                yield piece
            data = b""
            if engine.needs_input and not engine.eof:
                data = file.read(CHUNK_BYTES)
                if not data:
                    raise Refused("is cut off")
        data = _behind(engine.unused_data, file)


def decompressed(engine: Engine, data: bytes, name: str | None = None) -> bytes:
    """At most `CHUNK_BYTES` more. Raises Refused, for the entry `name` if there is one."""
    try:
        return engine.decompress(data, CHUNK_BYTES)
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
        raise Refused(f"is damaged: {error}", name) from error


def _behind(rest: bytes, file: BinaryIO) -> bytes:
    """What follows a stream, without the zeros that pad it."""
    while not (rest := rest.lstrip(b"\0")):
        rest = file.read(CHUNK_BYTES)
        if not rest:
            break
    return rest


def new_gzip() -> Engine:
    """For one member of a gzip file."""
    return Inflate(31)


def new_xz() -> Engine:
    """For one stream of an xz file."""
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


def new_bzip2() -> Engine:
    """For one stream of a bzip2 file."""
    return bz2.BZ2Decompressor()
