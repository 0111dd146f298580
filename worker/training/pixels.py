"""What is done to the values of a final image: the CPU executors of the photometric part of a plan, with OpenCV.

Each step holds what was drawn for every image of a batch, so that another executor can do the same elsewhere.
"""

# N = images in the batch, H W = height and width, C = channels: 1 or 3

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from worker.training.draws import Words, philox4x32
from worker.training.geometry import Array
from worker.training.opencv import cv2

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Fill = Literal["mean", "noise", "black"]

_SMOOTH_33 = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
_BORDER = cv2.BORDER_REFLECT_101  # mirrored at the centre of the edge's pixels, so that none counts twice
_NOISE_BYTES = 1 << 20  # more than an image of 512 x 512: repetitions lie far apart


class PixelStep(Protocol):
    """One step of the photometric part of a plan."""

    def run(self, number: int, image_HWC: Image) -> None:
        """Change image `number` of the batch in place."""


@dataclass(frozen=True)
class Table:
    """Each value replaced by its entry."""

    tables_N256: npt.NDArray[np.uint8]

    def run(self, number: int, image_HWC: Image) -> None:
        """By one look-up a value."""
        image_HWC[...] = cv2.LUT(image_HWC, self.tables_N256[number]).reshape(image_HWC.shape)


@dataclass(frozen=True)
class Stretch:
    """Each channel of the chosen images spread linearly over 0 to 255."""

    chosen_N: Mask

    def run(self, number: int, image_HWC: Image) -> None:
        """A channel of one value stays as it is."""
        if self.chosen_N[number]:
            for channel in range(image_HWC.shape[2]):
                values_HW = image_HWC[..., channel]
                low, high = int(values_HW.min()), int(values_HW.max())
                table = np.clip(np.rint((np.arange(256) - low) * (255 / max(high - low, 1))), 0, 255)
                image_HWC[..., channel] = cv2.LUT(values_HW, table.astype(np.uint8)) if high > low else values_HW


@dataclass(frozen=True)
class Equalize:
    """The histogram of each channel of the chosen images made flat."""

    chosen_N: Mask

    def run(self, number: int, image_HWC: Image) -> None:
        """OpenCV leaves a channel of one value as it is."""
        if self.chosen_N[number]:
            for channel in range(image_HWC.shape[2]):
                image_HWC[..., channel] = cv2.equalizeHist(np.ascontiguousarray(image_HWC[..., channel]))


@dataclass(frozen=True)
class Sharpen:
    """The distance to a smoothed copy times a factor: 0 smooths, 1 changes nothing, 2 sharpens."""

    factors_N: Array

    def run(self, number: int, image_HWC: Image) -> None:
        """The smoothing kernel is the one of the Python Imaging Library."""
        factor = float(self.factors_N[number])
        if factor != 1.0:
            kernel_33 = (1 - factor) * _SMOOTH_33
            kernel_33[1, 1] += factor
            image_HWC[...] = cv2.filter2D(image_HWC, -1, kernel_33, borderType=_BORDER).reshape(image_HWC.shape)


@dataclass(frozen=True)
class Blur:
    """A Gaussian of the given deviation, in pixels; 0 changes nothing."""

    sigmas_N: Array

    def run(self, number: int, image_HWC: Image) -> None:
        """The kernel reaches three deviations."""
        sigma = float(self.sigmas_N[number])
        if sigma > 0:
            made = cv2.GaussianBlur(image_HWC, (0, 0), sigma, borderType=_BORDER)
            image_HWC[...] = made.reshape(image_HWC.shape)


@dataclass(frozen=True)
class Erase:
    """A rectangle of each image covered: (top, left, height, width) in pixels; one of no area covers nothing."""

    boxes_N4: npt.NDArray[np.int64]
    fill: Fill
    seeds_N: Array
    """In [0, 1): which noise."""

    def run(self, number: int, image_HWC: Image) -> None:
        """The mean is that of the image before it is covered."""
        top, left, height, width = self.boxes_N4[number]
        box_HWC = image_HWC[top : top + height, left : left + width]
        if not box_HWC.size:
            return
        if self.fill == "noise":
            box_HWC[...] = noise(float(self.seeds_N[number]), box_HWC.size).reshape(box_HWC.shape)
        elif self.fill == "mean":
            box_HWC[...] = np.rint(cv2.mean(image_HWC)[: image_HWC.shape[2]])
        else:
            box_HWC[...] = 0


def noise(seed: float, values: int) -> Image:
    """`values` numbers, each uniform in 0 to 255: a stretch of one fixed table that begins where `seed` says."""
    table = noise_table()
    start = int(seed * len(table))
    return np.resize(np.concatenate([table[start:], table[:start]]), values)


def noise_table() -> Image:
    """The table: 1 MiB. Callers must not write to it."""
    if not _table:
        counters = np.zeros((4, _NOISE_BYTES // 16), np.uint64)
        counters[0] = np.arange(counters.shape[1])
        words: Words = philox4x32(counters, (0x6E6F6973, 0x65))  # "noise"
        _table.append(words.view(np.uint8).ravel())
    return _table[0]


_table: list[Image] = []  # made at the first use: 1 MiB that most jobs never need
