"""Rectangles inside images, by a share of the area and an aspect ratio."""

import numpy as np

from worker.training import geometry
from worker.training.draws import Draw
from worker.training.geometry import Array

# N = images in the batch, T = tries

_TRIES = 10  # rectangles drawn until one fits, as in the Inception code and torchvision; then the largest there is


def drawn(draw: Draw, sizes_N2: Array, scale: tuple[float, float], ratio: tuple[float, float]) -> Array:
    """(h, w) for each image: area uniform in `scale`, logarithm of w / h uniform in `ratio`, until it fits."""
    drawn_2TN = draw.uniforms(2 * _TRIES).reshape(2, _TRIES, -1)
    areas_TN = (scale[0] + (scale[1] - scale[0]) * drawn_2TN[0]) * sizes_N2.prod(axis=1)
    low, high = np.log(ratio)
    ratios_TN = np.exp(low + (high - low) * drawn_2TN[1])
    windows_TN2 = np.sqrt(np.stack([areas_TN / ratios_TN, areas_TN * ratios_TN], -1))
    fits_TN = (windows_TN2 <= sizes_N2).all(axis=-1)
    first_N = fits_TN.argmax(axis=0)
    chosen_N2 = windows_TN2[first_N, np.arange(len(sizes_N2))]
    natural_N = np.clip(sizes_N2[:, 1] / sizes_N2[:, 0], *ratio)
    return np.where(fits_TN.any(axis=0)[:, None], chosen_N2, geometry.largest(sizes_N2, natural_N))
