"""How large images are kept and trained on: as their files have them, or reduced where training never looks so closely.

A photograph of 12 megapixels that becomes 224 x 224 is decoded at an eighth of its size: that is five times faster, and
what is left still has more pixels than the network is shown. The factor is 1, 2, 4 or 8, the largest that leaves at
least `PIXELS_LEFT` pixels along each axis for one that the network sees, in the closest look that the spec can draw. It
depends on the spec and on the image's two sides alone, so it is the same from files and from the cache, on every rank
and after a resume. A pad-and-crop counts in the pixels of the file: there, nothing is reduced.

A spec is known here by what it does to sizes alone (worker/training/closest_look.py), in plain numbers: the processes
that decode files load nothing of the contract.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from worker.training import geometry, image_files
from worker.training.geometry import Array
from worker.training.image_files import Image
from worker.training.opencv import MAX_PIXELS

# N = images

PIXELS_LEFT = 1.5
"""Below 2.5 pixels for one, a single tap is nearer to the exact image than a mean before it (see resample.factor)."""
_FACTORS = (8, 4, 2)


class Sizing(NamedTuple):
    """What an entry of an augmentation list does to the size of images."""

    does: Literal["scales", "windows", "cuts", "magnifies"]
    numbers: tuple[float, ...]
    """scales: the new (h, w). windows: the new (h, w) of a part, the part's least share of the area, its least and
    greatest ratio of width to height. cuts: the new (h, w). magnifies: by what it may bring pixels closer, at most 1.
    """


class Reduction:
    """The factors of one spec."""

    def __init__(self, lists: Sequence[Sequence[Sizing]]) -> None:
        """`lists`: for training and for evaluation; none where nothing can be reduced."""
        self.lists = tuple(tuple(Sizing(does, tuple(numbers)) for does, numbers in steps) for steps in lists)
        self.key = hashlib.sha256(json.dumps(self.lists).encode()).hexdigest() if lists else ""
        """Two specs with the same key reduce every image alike."""
        self._known: dict[tuple[int, int], int] = {}

    def factor(self, height: int, width: int) -> int:
        """By how much an image of these sides, in either order, is reduced."""
        key = (height, width)
        if key not in self._known:
            self._known[key] = int(self.factors(np.array([key], np.int64))[0])
        return self._known[key]

    def factors(self, sizes_N2: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The same for many images."""
        factors_N = np.ones(len(sizes_N2), np.int64)
        if not self.lists:
            return factors_N
        upright_N2 = sizes_N2.astype(np.float64)
        turned = (upright_N2, upright_N2[:, ::-1])
        density_N = np.min([_density(each, sizes) for each in self.lists for sizes in turned], axis=0)
        for factor in reversed(_FACTORS):
            factors_N[density_N >= PIXELS_LEFT * factor] = factor
        return factors_N


def stored_sizes(sizes_N2: npt.NDArray[np.int64], factors_N: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(h, w) of the reduced images: a part of a block counts as a whole one."""
    return -(-sizes_N2 // factors_N[:, None])


def digest(factors_N: npt.NDArray[np.int64]) -> str:
    """Says which images are reduced by how much; empty when none is."""
    if (factors_N == 1).all():
        return ""
    return hashlib.sha256(factors_N.astype(np.uint8).tobytes()).hexdigest()


def decode(content: bytes, channels: int, reduction: Reduction) -> tuple[Image, tuple[int, int]]:
    """The pixels of a file as they are trained on, H x W x C, and the (h, w) of the whole image. Raises Unusable."""
    whole = image_files.jpeg_size(content)
    if whole and whole[0] * whole[1] <= MAX_PIXELS and (factor := reduction.factor(*whole)) > 1:
        image_HWC = image_files.decode(content, channels, factor)
        for size in (whole, whole[::-1]):  # EXIF may turn it
            if image_HWC.shape[:2] == tuple(-(-side // factor) for side in size):
                return image_HWC, (size[0], size[1])
    image_HWC = image_files.decode(content, channels)
    height, width = image_HWC.shape[:2]
    return image_files.reduced(image_HWC, reduction.factor(height, width)), (height, width)


def _density(steps: Sequence[Sizing], sizes_N2: Array) -> Array:
    """The fewest source pixels for one of the output, along any axis, over all that may be drawn."""
    density_N = np.ones(len(sizes_N2))
    for does, numbers in steps:
        if does == "magnifies":
            density_N = density_N * numbers[0]
            continue
        if does == "scales":
            density_N = density_N * (sizes_N2 / numbers).min(axis=1)
        if does == "windows":
            density_N = density_N * _closest_window(numbers, sizes_N2)
        sizes_N2 = np.tile(np.array(numbers[:2], np.float64), (len(sizes_N2), 1))
    return density_N


def _closest_window(numbers: tuple[float, ...], sizes_N2: Array) -> Array:
    """Of the smallest windows in both shapes, and of the largest that fits: what is taken when none does."""
    height, width, share, low, high = numbers
    areas_N = share * sizes_N2.prod(axis=1)
    drawn_N2 = np.stack([np.sqrt(areas_N / high), np.sqrt(areas_N * low)], -1)
    natural_N = np.clip(sizes_N2[:, 1] / sizes_N2[:, 0], low, high)
    windows_N2 = np.minimum(drawn_N2, geometry.largest(sizes_N2, natural_N))
    return np.asarray((windows_N2 / (height, width)).min(axis=1), np.float64)
