"""Labelled images that are read one at a time, and the memory that keeps them decoded."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# N = images, H W = height and width of one image, C = channels: 1 luminance or 3 RGB

Image = npt.NDArray[np.uint8]
Read = Callable[[int], Image]


@dataclass(frozen=True)
class Images:
    """Images in a fixed order with their labels. `read` may be called from several threads."""

    labels_N: npt.NDArray[np.int64]
    sizes_N2: npt.NDArray[np.int64]
    """(h, w) of each image as it is read, in pixels."""
    channels: int
    read: Read
    """From the number of an image to its pixels, H x W x C. Raises RunFailure when it cannot be read any more."""

    def __len__(self) -> int:
        return len(self.labels_N)

    def subset(self, members_M: npt.NDArray[np.int64]) -> "Images":
        """Some of the images, in the order of `members`."""
        members = np.asarray(members_M, np.int64)
        read = self.read
        return Images(
            self.labels_N[members], self.sizes_N2[members], self.channels, lambda index: read(int(members[index]))
        )


@dataclass(frozen=True)
class Selection:
    """Some images of a set, each read when it is asked for."""

    images: Images
    indices: list[int]

    def __iter__(self) -> Iterator[Image]:
        return map(self.images.read, self.indices)


class Remembered:
    """Keeps what was read in memory until the budget is full; the rest is read again each time. Thread-safe."""

    def __init__(self, read: Read, budget_bytes: int) -> None:
        self._read = read
        self._kept: dict[int, Image] = {}
        self._left_bytes = budget_bytes
        self._lock = threading.Lock()

    def __call__(self, index: int) -> Image:
        """The pixels of image `index`. Callers must not write to them."""
        image = self._kept.get(index)
        if image is None:
            image = self._read(index)
            self._keep(index, image)
        return image

    def _keep(self, index: int, image: Image) -> None:
        with self._lock:
            if index not in self._kept and image.nbytes <= self._left_bytes:
                self._left_bytes -= image.nbytes
                self._kept[index] = image
