"""Pixels of many images in few files, written and read by any number of processes."""

import errno
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from worker.training.cache.buffers import Buffers

# N = images, H W = height and width of one image, C = channels: 1 or 3

Image = npt.NDArray[np.uint8]

SHARD_BYTES = 64 << 20
"""A file is closed when the next image would take it past this; an image is never divided."""
_WORD_BYTES = 8
_BLOCK_WORDS = 512


class Damaged(Exception):
    """Something in the cache is not what was written; the message says what."""


class Slot(NamedTuple):
    """Where an image lies."""

    shard: int
    start: int
    height: int
    width: int
    checksum: int


def checksum(pixels: npt.NDArray[np.uint8]) -> int:
    """CRC-32 of the sums of blocks of 4 KiB; what is not a whole word is filled up with zeros.

    Finds flipped bits, pages that are missing, zero or from elsewhere, and reads memory as fast as it comes: a plain
    CRC-32 takes as long as the augmentation of the image.
    """
    count = -(-len(pixels) // _WORD_BYTES)
    words = pixels[: len(pixels) // _WORD_BYTES * _WORD_BYTES].view(np.uint64)
    sums = np.zeros(-(-count // _BLOCK_WORDS), np.uint64)
    if len(words):
        starts = np.arange(0, len(words), _BLOCK_WORDS)
        sums[: len(starts)] = np.add.reduceat(words, starts)
    if count > len(words):
        sums[-1:] += np.frombuffer(pixels[len(words) * _WORD_BYTES :].tobytes().ljust(_WORD_BYTES, b"\0"), np.uint64)
    return zlib.crc32(sums.tobytes(), count)


def name(number: int) -> str:
    """The file of a shard."""
    return f"pixels-{number:05d}.bin"


class ShardWriter:
    """Appends images to files in a folder. Several writers, each for one thread, may share a folder: each has files of
    its own. The files are not synced: what a power cut takes is found by their sizes and the images' checksums."""

    def __init__(self, folder: str | Path, next_number: Callable[[int], int]) -> None:
        """`next_number(bytes)`: of a file that nobody else writes, to be begun with so many bytes; it may raise OSError
        where there is no room. Raises OSError."""
        # Held open: should somebody remove the folder and make it anew, nothing is written into theirs.
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._next_number = next_number
        self._file = self._number = -1
        self._end = SHARD_BYTES

    def add(self, image_HWC: Image) -> Slot:
        """Write one image. Raises OSError."""
        pixels = image_HWC.reshape(-1)
        size_bytes = -(-len(pixels) // _WORD_BYTES) * _WORD_BYTES
        if self._file < 0 or self._end + size_bytes > SHARD_BYTES:
            self._begin(size_bytes)
        start, self._end = self._end, self._end + size_bytes
        self._write(pixels.data, start)
        self._write(memoryview(bytes(size_bytes - len(pixels))), start + len(pixels))
        height, width = image_HWC.shape[:2]
        return Slot(self._number, start, height, width, checksum(pixels))

    def close(self) -> None:
        """Let go of file and folder."""
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._folder = -1

    def _begin(self, size_bytes: int) -> None:
        number = self._next_number(size_bytes)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(name(number), flags, 0o644, dir_fd=self._folder)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._number, self._end = file, number, 0

    def _write(self, data: memoryview, start: int) -> None:
        written = 0
        while written < len(data):
            written += os.pwrite(self._file, data[written:], start + written)


@dataclass(frozen=True)
class Places:
    """Where each image lies, column by column."""

    shards_N: npt.NDArray[np.int32]
    starts_N: npt.NDArray[np.int64]
    sizes_N2: npt.NDArray[np.int32]
    checksums_N: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, slots: Sequence[Slot]) -> "Places":
        """From the slots of all images, in order."""
        return cls(
            np.array([each.shard for each in slots], np.int32),
            np.array([each.start for each in slots], np.int64),
            np.array([(each.height, each.width) for each in slots], np.int32).reshape(-1, 2),
            np.array([each.checksum for each in slots], np.uint32),
        )

    def columns(self) -> dict[str, npt.NDArray]:
        """As they are stored."""
        return {
            "shards": self.shards_N,
            "starts": self.starts_N,
            "stored_sizes": self.sizes_N2,
            "checksums": self.checksums_N,
        }

    @classmethod
    def from_columns(cls, columns: dict[str, npt.NDArray]) -> "Places":
        """Back again. Raises KeyError."""
        return cls(columns["shards"], columns["starts"], columns["stored_sizes"], columns["checksums"])


class ShardReader:
    """Reads images by number. Thread-safe. The first time that a process reads an image, its checksum is compared."""

    def __init__(self, folder: Path, places: Places, channels: int, shards: int) -> None:
        """Raises OSError."""
        self.places = places
        self.folder = folder
        self._channels = channels
        self._buffers = Buffers()
        self._checked_N = np.zeros(len(places.starts_N), np.bool_)
        self._files: list[int] = []
        for number in range(shards):
            self._files.append(os.open(folder / name(number), os.O_RDONLY | os.O_CLOEXEC))

    def read(self, index: int) -> Image:
        """The pixels of an image, H x W x C. Raises Damaged."""
        height, width = self.places.sizes_N2[index].tolist()
        length = height * width * self._channels
        padded = self._buffers.take(-(-length // _WORD_BYTES) * _WORD_BYTES)
        shard = int(self.places.shards_N[index])
        try:
            self._fill(padded, self._files[shard], int(self.places.starts_N[index]))
        except OSError as error:
            raise Damaged(f"{name(shard)} cannot be read: {error.strerror}") from error
        if not self._checked_N[index]:
            if checksum(padded) != self.places.checksums_N[index]:
                raise Damaged(f"{name(shard)} has other bytes than were written")
            self._checked_N[index] = True
        return padded[:length].reshape(height, width, self._channels)

    def close(self) -> None:
        """Let go of the files."""
        while self._files:
            os.close(self._files.pop())

    def __del__(self) -> None:
        self.close()

    def _fill(self, buffer: npt.NDArray[np.uint8], file: int, start: int) -> None:
        done = 0
        while done < len(buffer):
            count = os.preadv(file, [buffer.data[done:]], start + done)
            if not count:
                raise OSError(errno.EIO, "it is cut off")
            done += count
