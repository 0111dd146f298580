"""Neighbourhoods of final images, for a batch at once: sharpening and Gaussians.

Each is a sum of shifted copies, element by element. A convolution of the library would be one call, but GPUs do it at
10 bits unless told otherwise, and its order of sums may change with the number of images.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# M = images, H W = height and width, C = channels, K = taps of a kernel


def sharpened(images_MHWC: Tensor, factors_M: Tensor) -> Tensor:
    """The distance to a copy smoothed over 3 x 3 pixels (middle 5, others 1, of 13), times a factor."""
    values_MHWC = images_MHWC.float()
    sums_MHWC = _shifted_sum(_shifted_sum(values_MHWC, 1), 2)
    smooth_MHWC = torch.add(sums_MHWC, values_MHWC, alpha=4).div_(13)
    return torch.lerp(smooth_MHWC, values_MHWC, factors_M[:, None, None, None]).round_().clamp_(0, 255).to(torch.uint8)


def kernels(sigmas_M: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """OpenCV's Gaussians for images of 8 bits, M x K, the shorter ones with zeros at both ends.

    A kernel reaches three deviations. Its weights are whole 256ths that add up to 1: what rounding takes from one is
    given to the next, from the end inwards, and the middle has the rest.
    """
    reaches = [(round(sigma * 6 + 1) | 1) // 2 for sigma in sigmas_M.tolist()]
    widest = max(reaches, default=0)
    kernels_MK = np.zeros((len(sigmas_M), 2 * widest + 1), np.float32)
    for row_K, sigma, reach in zip(kernels_MK, sigmas_M.tolist(), reaches, strict=True):
        row_K[widest - reach : widest + reach + 1] = _kernel(sigma, reach)
    return kernels_MK


def filtered(images_MHWC: Tensor, kernels_MK: Tensor) -> Tensor:
    """Each image's own kernel, across and down."""
    values_MHWC = images_MHWC.float()
    for axis in (2, 1):
        values_MHWC = _weighted_sum(values_MHWC, kernels_MK, axis)
    return values_MHWC.add_(0.5).floor_().to(torch.uint8)


def _kernel(sigma: float, reach: int) -> npt.NDArray[np.float64]:
    exact = np.exp(-0.5 * (np.arange(-reach, 1) / sigma) ** 2)
    exact *= 256 / (2 * exact.sum() - 1)
    half, rest = np.empty(reach), 0.0
    for number in range(reach):
        half[number] = np.rint(exact[number] + rest)
        rest += exact[number] - half[number]
    return np.concatenate([half, [256 - 2 * half.sum()], half[::-1]]) / 256


def _mirrored(values_MHWC: Tensor, reach: int, axis: int) -> Tensor:
    """With `reach` more on both sides of an axis, mirrored at the centre of the edge's pixels."""
    length = values_MHWC.shape[axis]
    period = max(2 * (length - 1), 1)
    places = torch.arange(-reach, length + reach, device=values_MHWC.device).remainder_(period)
    return values_MHWC.index_select(axis, torch.minimum(places, period - places) if length > 1 else places)


def _shifted_sum(values_MHWC: Tensor, axis: int) -> Tensor:
    wide_MHWC, length = _mirrored(values_MHWC, 1, axis), values_MHWC.shape[axis]
    return wide_MHWC.narrow(axis, 0, length) + wide_MHWC.narrow(axis, 1, length) + wide_MHWC.narrow(axis, 2, length)


def _weighted_sum(values_MHWC: Tensor, kernels_MK: Tensor, axis: int) -> Tensor:
    taps, length = kernels_MK.shape[1], values_MHWC.shape[axis]
    wide_MHWC = _mirrored(values_MHWC, taps // 2, axis)
    total_MHWC = torch.zeros_like(values_MHWC)
    for number in range(taps):
        total_MHWC.addcmul_(wide_MHWC.narrow(axis, number, length), kernels_MK[:, number, None, None, None])
    return total_MHWC
