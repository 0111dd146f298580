"""What a device needs of its source images: the parts that will be read, one behind the other, and the maps into them.

The host cuts and reduces, since it has the image in its cache anyway: a photograph of 12 megapixels that is shown at
224 x 224 would otherwise take 36 MB of page-locked memory and of the bus, instead of 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from app.contract.augment import Border
from worker.training import geometry
from worker.training.geometry import Array, Size
from worker.training.opencv import cv2
from worker.training.resample import factor

# N = images, P = pixels of all parts, C = channels: 1 or 3; pairs along an axis are (y, x)

Image = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]

_MARGIN = 2  # reduced pixels around what is read, as in the CPU executor: the tap reaches over the edge by one


@dataclass(frozen=True)
class Sources:
    """The parts of N images that are read."""

    pixels_PC: torch.Tensor
    """uint8: rows of the first part, then of the next."""
    sizes_N2: Whole
    """(h, w) of each part."""
    maps_N23: Array
    """From output pixels to pixels of the part."""
    borders: list[Border | None]
    """What is shown beyond the part; null where at most the outer half of its edge is."""
    places_N2: Whole | None = None
    """(first pixel, pixels from row to row) of each part; null: they lie one behind the other."""

    def to(self, device: torch.device) -> "Sources":
        """With the pixels on `device`. The host does not wait for the copy when they lie in page-locked memory."""
        return replace(self, pixels_PC=self.pixels_PC.to(device, non_blocking=True))


@dataclass(frozen=True)
class Spans:
    """What is read of N images: where it begins, how much of it, and by which whole factors it is reduced."""

    starts_N2: Whole
    lengths_N2: Whole
    """Multiples of the factors. Where a factor is more than 1, the last ones may lie beyond the image."""
    factors_N2: Whole

    def maps_into(self, matrices_N33: Array) -> Array:
        """From output pixels to pixels of what is read: one of them is `factor` of its image. N x 2 x 3."""
        scales_N2 = self.factors_N2[:, ::-1].astype(np.float64)
        into_N33 = geometry.translation(-(self.starts_N2[:, ::-1] + (scales_N2 - 1) / 2) / scales_N2)
        into_N33[:, [0, 1], [0, 1]] = 1 / scales_N2
        return (into_N33 @ matrices_N33)[:, :2]

    def of(self, members_N: npt.NDArray[np.bool_]) -> "Spans":
        """Those of some of the images."""
        return Spans(self.starts_N2[members_N], self.lengths_N2[members_N], self.factors_N2[members_N])


Joinable = TypeVar("Joinable")


def joined(items: Sequence[Joinable]) -> Joinable:
    """Dataclasses with an entry for each image, chunk by chunk, as one. What is no array or list is the first's."""
    first = items[0]
    names = [field.name for field in fields(first)]  # type: ignore[arg-type]
    return replace(first, **{name: _together([getattr(each, name) for each in items]) for name in names})  # type: ignore[type-var]


def _together(values: Sequence[Any]) -> Any:
    match values[0]:
        case _ if len(values) == 1:
            return values[0]
        case np.ndarray():
            return np.concatenate(values)
        case torch.Tensor() as first:
            return first if all(each is first for each in values) else torch.cat(list(values))
        case list():
            return [each for value in values for each in value]
        case alike:
            return alike


def cut(
    images: Sequence[Image], matrices_N33: Array, borders: list[Border | None], size: Size, *, pinned: bool
) -> Sources:
    """What the output of `size` reads of each image, reduced by whole factors where it shrinks much.

    `matrices` map output pixels to source pixels. `pinned`: packed in page-locked memory, so that it can be sent
    without waiting.
    """
    read = spans(np.array([image.shape[:2] for image in images], np.int64), matrices_N33, size)
    small_N2 = read.lengths_N2 // read.factors_N2
    ends_N = np.cumsum(small_N2.prod(axis=1))
    channels = images[0].shape[2]
    pixels_PC = torch.empty((int(ends_N[-1]), channels), dtype=torch.uint8, pin_memory=pinned)
    packed_PC = pixels_PC.numpy()
    for n, image in enumerate(images):
        area = small_N2[n].prod()
        out_HWC = packed_PC[ends_N[n] - area : ends_N[n]].reshape(*small_N2[n], channels)
        _fill(out_HWC, image, read.starts_N2[n], read.lengths_N2[n], read.factors_N2[n])
    return Sources(pixels_PC, small_N2, read.maps_into(matrices_N33), borders)


def spans(sizes_N2: Whole, matrices_N33: Array, size: Size) -> Spans:
    """What the output of `size` reads of images of the sizes (h, w)."""
    factors_N2 = _factors(matrices_N33)
    return Spans(*_spans(geometry.outline(matrices_N33, size), sizes_N2, factors_N2), factors_N2)


def _factors(matrices_N33: Array) -> Whole:
    shrinks_N2 = np.hypot(matrices_N33[:, [1, 0], 0], matrices_N33[:, [1, 0], 1])
    return np.array([[factor(y), factor(x)] for y, x in shrinks_N2.tolist()], np.int64)


def _spans(corners_N42: Array, sizes_N2: Whole, factors_N2: Whole) -> tuple[Whole, Whole]:
    """Start and length, a multiple of the factor, of what is read along each axis, by the rule of `resample`."""
    low_N2, high_N2 = corners_N42.min(axis=1)[:, ::-1], corners_N42.max(axis=1)[:, ::-1]
    outmost_N2 = np.where(low_N2 < -0.5, np.maximum(high_N2, -low_N2), high_N2)
    inmost_N2 = np.where(high_N2 > sizes_N2 - 0.5, np.minimum(low_N2, 2 * sizes_N2 - high_N2), low_N2)
    margins_N2 = _MARGIN * factors_N2
    first_N2 = np.maximum(np.floor(inmost_N2) - margins_N2, 0).astype(np.int64)
    last_N2 = np.minimum(np.ceil(outmost_N2) + 1 + margins_N2, sizes_N2).astype(np.int64)
    lengths_N2 = -(-(last_N2 - first_N2) // factors_N2) * factors_N2
    return np.maximum(np.minimum(first_N2, sizes_N2 - lengths_N2), 0), lengths_N2


def _fill(out_HWC: Image, image_HWC: Image, start_2: Whole, length_2: Whole, factor_2: Whole) -> None:
    """A window that begins inside the image; what it lacks to the right and below is mirrored."""
    (top, left), (bottom, right) = start_2, start_2 + length_2
    part_HWC = image_HWC[top:bottom, left:right]
    if part_HWC.shape[:2] != tuple(length_2):
        below, behind = length_2 - part_HWC.shape[:2]
        part_HWC = np.pad(part_HWC, ((0, below), (0, behind), (0, 0)), "symmetric")
    if (factor_2 > 1).any():
        small = cv2.resize(part_HWC, out_HWC.shape[1::-1], interpolation=cv2.INTER_AREA)
        part_HWC = np.asarray(small, np.uint8).reshape(out_HWC.shape)
    out_HWC[...] = part_HWC
