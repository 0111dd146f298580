"""Colour changes as linear maps, one for each image: a list of them is one map and one pass over the pixels.

A map takes a colour c and the mean colour m of its image to `own @ c + mean @ m`. Brightness, saturation and hue need
no mean, contrast keeps the mean grey where it is. The mean of what comes out is (own + mean) @ m, so maps compose
before an image is seen. Values are cut off at 0 and 255 once, behind the last map.
"""

# N = images in the batch

from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from worker.training.geometry import Array
from worker.training.opencv import cv2

Image = npt.NDArray[np.uint8]

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_TO_GREY = np.tile(_LUMA, (3, 1))
_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_YIQ[1:] -= _YIQ[1:].mean(axis=1, keepdims=True)  # the rounded table: without it a hue would tint what is grey


@dataclass(frozen=True)
class ColourMap:
    """A map for each image."""

    own_N33: Array
    mean_N33: Array

    def after(self, first: "ColourMap") -> "ColourMap":
        """`first`, then this, as one map."""
        through_N33 = self.own_N33 @ first.mean_N33 + self.mean_N33 @ (first.own_N33 + first.mean_N33)
        return ColourMap(self.own_N33 @ first.own_N33, through_N33)

    def run(self, number: int, image_HWC: Image) -> None:
        """Change an image in place. One channel is grey: all three are that."""
        own_33, mean_33 = self.own_N33[number], self.mean_N33[number]
        if np.array_equal(own_33, np.eye(3)) and not mean_33.any():
            return
        means_3 = np.resize(cv2.mean(image_HWC)[: image_HWC.shape[2]], 3)
        map_34 = np.column_stack([own_33, mean_33 @ means_3])
        three_HW3 = np.repeat(image_HWC, 3 // image_HWC.shape[2], axis=2)
        image_HWC[...] = cv2.transform(three_HW3, map_34)[..., : image_HWC.shape[2]]


def unchanged(count: int) -> ColourMap:
    """Every colour stays."""
    return ColourMap(_each(np.ones(count), np.eye(3)), np.zeros((count, 3, 3)))


def brightness(factors_N: Array) -> ColourMap:
    """All values times a factor: 0 is black, 1 changes nothing."""
    return ColourMap(_each(factors_N, np.eye(3)), np.zeros((len(factors_N), 3, 3)))


def contrast(factors_N: Array) -> ColourMap:
    """The distance to the image's mean grey times a factor: 0 is that grey."""
    return ColourMap(_each(factors_N, np.eye(3)), _each(1 - factors_N, _TO_GREY))


def saturation(factors_N: Array) -> ColourMap:
    """The distance of each pixel to its grey times a factor: 0 takes the colour out."""
    own_N33 = _each(factors_N, np.eye(3)) + _each(1 - factors_N, _TO_GREY)
    return ColourMap(own_N33, np.zeros_like(own_N33))


def hue(turns_N: Array) -> ColourMap:
    """The chroma plane of YIQ turned, in full turns; grey stays grey."""
    angles_N = 2 * np.pi * turns_N
    turned_N33 = np.tile(np.eye(3), (len(turns_N), 1, 1))
    turned_N33[:, 1, 1] = turned_N33[:, 2, 2] = np.cos(angles_N)
    turned_N33[:, 1, 2], turned_N33[:, 2, 1] = -np.sin(angles_N), np.sin(angles_N)
    own_N33 = np.linalg.inv(_YIQ) @ turned_N33 @ _YIQ
    own_N33[turns_N == 0] = np.eye(3)
    return ColourMap(own_N33, np.zeros_like(own_N33))


def chain(*maps: ColourMap) -> ColourMap:
    """One after another, as one map."""
    return reduce(lambda first, second: second.after(first), maps)


def _each(factors_N: Array, matrix_33: Array) -> Array:
    return factors_N[:, None, None] * matrix_33
