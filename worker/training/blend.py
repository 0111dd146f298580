"""How images are mixed with their partners, as numbers: what `mixup` and `cutmix` draw, and mixing.py does.

An image keeps a share of every pixel outside of a rectangle, and nothing inside; the rest is its partner's.
"""

# N = images in the batch

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.training.geometry import Array, Size


@dataclass(frozen=True)
class Blend:
    """Of a batch of images that all have the given size."""

    size: Size
    keep_N: Array
    """In [0, 1]: the part of each pixel that stays, outside of the box."""
    boxes_N4: npt.NDArray[np.int64]
    """(top, left, height, width) in pixels: what comes from the partner whole; one of no area is nowhere."""

    @property
    def weights_N(self) -> Array:
        """The part of the whole image that stays, which is the weight of its own label. In [0, 1]."""
        return self.keep_N * (1 - self.boxes_N4[:, 2:].prod(axis=1) / (self.size[0] * self.size[1]))


def of_shares(size: Size, keep_N: Array) -> Blend:
    """Each image keeps the same share everywhere."""
    return Blend(size, keep_N, np.zeros((len(keep_N), 4), np.int64))


def of_boxes(size: Size, boxes_N4: npt.NDArray[np.int64]) -> Blend:
    """Each image keeps what is outside of its box."""
    return Blend(size, np.ones(len(boxes_N4)), boxes_N4)


def one_of(blends: Sequence[Blend], turns_N: npt.NDArray[np.int64]) -> Blend:
    """For each image the blend that its turn, from 0, names."""
    each_N = np.arange(len(turns_N))
    keep_BN = np.stack([blend.keep_N for blend in blends])
    boxes_BN4 = np.stack([blend.boxes_N4 for blend in blends])
    return Blend(blends[0].size, keep_BN[turns_N, each_N], boxes_BN4[turns_N, each_N])
