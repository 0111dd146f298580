"""Pixels of many images in few files, written from several threads, read by any number of processes."""

import errno
import os
import threading
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
    """CRC-32 of the sums of blocks of 4 KiB, for pixels padded to whole words.

    Finds flipped bits, pages that are missing, zero or from elsewhere, and reads memory as fast as it comes: a plain
    CRC-32 takes as long as the augmentation of the image.
    """
    words = pixels.view(np.uint64)
    sums = np.add.reduceat(words, np.arange(0, len(words), _BLOCK_WORDS))
    return zlib.crc32(sums.tobytes(), len(words))


def name(number: int) -> str:
    """The file of a shard."""
    return f"pixels-{number:05d}.bin"


class ShardWriter:
    """Appends images to files in a folder. Thread-safe: places are given out one by one, and written at once."""

    def __init__(self, folder: Path, make_room: Callable[[int], None]) -> None:
        """`make_room(bytes)` is asked before a file is begun, and raises OSError where there is none."""
        self._folder = folder
        self._make_room = make_room
        self._lock = threading.Lock()
        self._files: list[int] = []
        self._end = SHARD_BYTES

    def add(self, image_HWC: Image) -> Slot:
        """Write one image. Raises OSError."""
        padded = np.zeros(-(-image_HWC.nbytes // _WORD_BYTES) * _WORD_BYTES, np.uint8)
        padded[: image_HWC.nbytes] = image_HWC.reshape(-1)
        shard, start, file = self._place(len(padded))
        written = 0
        while written < len(padded):
            written += os.pwrite(file, padded.data[written:], start + written)
        height, width = image_HWC.shape[:2]
        return Slot(shard, start, height, width, checksum(padded))

    def close(self) -> None:
        """Make all of it durable. Nobody may write any more. Raises OSError."""
        for file in self._files:
            os.fsync(file)
        self.abandon()

    def give_back(self) -> None:
        """Free the room, though other threads may still write."""
        with self._lock:
            for file in self._files:
                os.ftruncate(file, 0)

    def abandon(self) -> None:
        """Let go of the files. Nobody may write any more."""
        with self._lock:
            while self._files:
                os.close(self._files.pop())
            self._end = SHARD_BYTES

    def _place(self, size_bytes: int) -> tuple[int, int, int]:
        with self._lock:
            if not self._files or self._end + size_bytes > SHARD_BYTES:
                self._make_room(size_bytes)
                path = self._folder / name(len(self._files))
                self._files.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
                self._end = 0
            start, self._end = self._end, self._end + size_bytes
            return len(self._files) - 1, start, self._files[-1]


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
