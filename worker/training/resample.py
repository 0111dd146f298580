"""One resample for the whole list of augmentations: the CPU executor of a plan, with OpenCV.

An image is read through its matrix by one bilinear tap a pixel. What only moves or mirrors whole pixels is copied.
What shrinks is first reduced by whole factors with box means, which cost a sixth of a fractional `INTER_AREA`.
"""

from math import ceil, floor, hypot

import numpy as np
import numpy.typing as npt

from app.contract.augment import Border
from worker.training.geometry import Array
from worker.training.opencv import cv2

# H W = height and width of an image, C = channels: 1 or 3

Image = npt.NDArray[np.uint8]

_BORDERS: dict[Border | None, int] = {
    "reflect": cv2.BORDER_REFLECT,  # mirrored at the image's edge: fedcba|abcdefgh|hgfedcba
    "replicate": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    None: cv2.BORDER_REPLICATE,  # only the outer half of the edge's own pixels is at stake
}
_WHOLE = 1e-9  # pixels: nearer than this to a whole number is one, after a few products in float64
_FLIPS = {(1, -1): 0, (-1, 1): 1, (-1, -1): -1}  # OpenCV's codes: 0 mirrors y, 1 mirrors x


def warp(image_HWC: Image, matrix_33: Array, border: Border | None, out_HWC: Image) -> None:
    """Fill `out` with the image seen through `matrix`, which maps output pixels to source pixels.

    `out` is contiguous and has the image's channels; its shape is the output size. Exact when whole pixels only move.
    """
    if _copy(image_HWC, matrix_33, out_HWC):
        return
    near_HWC, near_33 = _near(image_HWC, matrix_33, out_HWC.shape[:2])
    if image_HWC.shape[2] == 3:
        # Four channels are read and written whole: with the way there and back, half the time of three.
        # The way there also reads the image once in the order of memory: see below.
        out_HW4 = np.empty((*out_HWC.shape[:2], 4), np.uint8)
        _tap(cv2.cvtColor(near_HWC, cv2.COLOR_RGB2RGBA), near_33, border, out_HW4)
        cv2.cvtColor(out_HW4, cv2.COLOR_RGBA2RGB, dst=out_HWC)
    else:
        # One pass in the order of memory: a turned read of an image that is not in the cache takes twice as long.
        _tap(near_HWC[..., 0].copy(), near_33, border, out_HWC[..., 0])


def _tap(image: npt.NDArray, matrix_33: Array, border: Border | None, out: npt.NDArray) -> None:
    """Fill `out` by one bilinear tap a pixel."""
    cv2.warpAffine(
        image,
        matrix_33[:2],
        (out.shape[1], out.shape[0]),  # OpenCV's sizes are (w, h)
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=_BORDERS[border],
    )


def factor(shrink: float) -> int:
    """By how much an axis is reduced before the tap, when one step of the output is `shrink` source pixels.

    The blur of a box mean followed by a tap costs more than the aliasing of the tap alone until about 2.5: against
    the exact image (flat spectrum, float64, supersampled) a factor of 2 gives 25 dB instead of 36 at 1.6, 28 instead
    of 33 at 2, 31 instead of 28 at 2.5; 3 is better than 2 from 4 on, 4 better than 3 from 5.5 on.
    """
    return max(1, floor(shrink / 1.5 + 1 / 3))


def _flat(image_HWC: Image) -> Image:
    """OpenCV has no third axis for one channel."""
    return image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC


def _deep(image: npt.NDArray) -> Image:
    """With the third axis that OpenCV leaves out for one channel."""
    return image.reshape(*image.shape[:2], -1).view(np.uint8)


def _copy(image_HWC: Image, matrix_33: Array, out_HWC: Image) -> bool:
    """Do it without arithmetic if the output is a window of the source, perhaps mirrored."""
    (xx, xy, x0), (yx, yy, y0), _ = matrix_33.tolist()
    is_diagonal = abs(xy) + abs(yx) < _WHOLE and abs(abs(xx) - 1) < _WHOLE and abs(abs(yy) - 1) < _WHOLE
    if not is_diagonal or abs(x0 - round(x0)) > _WHOLE or abs(y0 - round(y0)) > _WHOLE:
        return False
    signs = round(xx), round(yy)
    height, width = out_HWC.shape[:2]
    left = round(x0) - (width - 1 if signs[0] < 0 else 0)
    top = round(y0) - (height - 1 if signs[1] < 0 else 0)
    if min(left, top) < 0 or left + width > image_HWC.shape[1] or top + height > image_HWC.shape[0]:
        return False
    window_HWC = image_HWC[top : top + height, left : left + width]
    if signs == (1, 1):
        out_HWC[...] = window_HWC
    else:
        cv2.flip(_flat(window_HWC), _FLIPS[signs], dst=_flat(out_HWC))
    return True


def _near(image_HWC: Image, matrix_33: Array, size_out: tuple[int, ...]) -> tuple[Image, Array]:
    """The part of the image that is read, in the cache and reduced by whole factors, and the matrix into it."""
    (xx, xy, x0), (yx, yy, y0), _ = matrix_33.tolist()
    factors = factor(hypot(xx, xy)), factor(hypot(yx, yy))
    left, width = _span(*_reach(xx, xy, x0, size_out), image_HWC.shape[1], factors[0])
    top, height = _span(*_reach(yx, yy, y0, size_out), image_HWC.shape[0], factors[1])
    part_HWC = _window(image_HWC, left, top, width, height)
    near = part_HWC
    if factors != (1, 1):
        small_size = width // factors[0], height // factors[1]
        near = _deep(cv2.resize(_flat(part_HWC), small_size, interpolation=cv2.INTER_AREA))
    into_33 = np.diag([1 / factors[0], 1 / factors[1], 1.0])
    into_33[0, 2] = -(left + (factors[0] - 1) / 2) / factors[0]
    into_33[1, 2] = -(top + (factors[1] - 1) / 2) / factors[1]
    return near, into_33 @ matrix_33


def _reach(along_x: float, along_y: float, origin: float, size_out: tuple[int, ...]) -> tuple[float, float]:
    """The least and greatest source coordinate, of one axis, under the outer edges of the output."""
    height, width = size_out
    ends_x = -0.5 * along_x, (width - 0.5) * along_x
    ends_y = -0.5 * along_y, (height - 0.5) * along_y
    return origin + min(ends_x) + min(ends_y), origin + max(ends_x) + max(ends_y)


def _span(low: float, high: float, length: int, factor: int) -> tuple[int, int]:
    """Start and length, a multiple of the factor, of the pixels of one axis that are read between two edges.

    What is shown beyond the image is what a mirrored border has there: as far inside as it lies outside.
    """
    inmost, outmost = low, high
    if low < -0.5:
        outmost = max(high, -low)
    if high > length - 0.5:
        inmost = min(low, 2 * length - high)
    first, last = max(floor(inmost) - 2 * factor, 0), min(ceil(outmost) + 1 + 2 * factor, length)
    blocks = ceil((last - first) / factor)
    return max(min(first, length - blocks * factor), 0), blocks * factor


def _window(image_HWC: Image, left: int, top: int, width: int, height: int) -> Image:
    """A window that begins inside the image; what it lacks to the right and below is mirrored."""
    part_HWC = image_HWC[top : top + height, left : left + width]
    below, right = height - part_HWC.shape[0], width - part_HWC.shape[1]
    if not below and not right:
        return part_HWC
    padded = cv2.copyMakeBorder(_flat(part_HWC), 0, below, 0, right, cv2.BORDER_REFLECT)
    return _deep(padded)
