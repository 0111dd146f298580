"""Random windows as matrices: pad-and-crop at whole pixels, or an area and an aspect ratio resized to the output."""

import numpy as np

from app.contract.augment import RandomCrop
from worker.training import geometry
from worker.training.augment import Geometric
from worker.training.draws import Draw
from worker.training.geometry import Array

# N = images in the batch, T = tries

_RATIO = (3 / 4, 4 / 3)
_TRIES = 10  # windows drawn until one fits, as in the Inception code and torchvision; then the largest in the middle


def build(spec: RandomCrop) -> Geometric:
    """Evaluation: the window of the same size in the centre; with `scale`, the largest of the output's aspect."""
    return _of_share(spec, spec.scale) if spec.scale else _of_pixels(spec)


def _of_pixels(spec: RandomCrop) -> Geometric:
    """Every place of the window in the padded image, the last one included. A window larger than the padded image is
    padded further: it is placed uniformly where it shows all of the image.
    """
    size = np.array(spec.size, np.float64)

    def train(draw: Draw, sizes_N2: Array) -> Array:
        room_N2 = sizes_N2 + 2 * spec.padding - size
        first_N2, last_N2 = np.minimum(room_N2, 0), np.maximum(room_N2, 0)
        places_N2 = np.floor(draw.uniforms(2).T * (last_N2 - first_N2 + 1)) + first_N2
        return geometry.translation((places_N2 - spec.padding)[:, ::-1])

    def evaluate(sizes_N2: Array) -> Array:
        return geometry.translation(np.floor((sizes_N2 - size) / 2)[:, ::-1])

    return Geometric(train, evaluate, spec.size, spec.border)


def _of_share(spec: RandomCrop, scale: tuple[float, float]) -> Geometric:
    ratio = spec.ratio or _RATIO

    def train(draw: Draw, sizes_N2: Array) -> Array:
        windows_N2 = _windows(draw, sizes_N2, scale, ratio)
        corners_N2 = draw.uniforms(2).T * (sizes_N2 - windows_N2)
        return geometry.window(corners_N2[:, ::-1], windows_N2, spec.size)

    def evaluate(sizes_N2: Array) -> Array:
        windows_N2 = _largest(sizes_N2, np.full(len(sizes_N2), spec.size[1] / spec.size[0]))
        return geometry.window(((sizes_N2 - windows_N2) / 2)[:, ::-1], windows_N2, spec.size)

    return Geometric(train, evaluate, spec.size)


def _windows(draw: Draw, sizes_N2: Array, scale: tuple[float, float], ratio: tuple[float, float]) -> Array:
    """Area uniform in `scale`, logarithm of the ratio uniform in `ratio`, drawn until the window fits its image."""
    drawn_2TN = draw.uniforms(2 * _TRIES).reshape(2, _TRIES, -1)
    areas_TN = (scale[0] + (scale[1] - scale[0]) * drawn_2TN[0]) * sizes_N2.prod(axis=1)
    low, high = np.log(ratio)
    ratios_TN = np.exp(low + (high - low) * drawn_2TN[1])
    windows_TN2 = np.sqrt(np.stack([areas_TN / ratios_TN, areas_TN * ratios_TN], -1))
    fits_TN = (windows_TN2 <= sizes_N2).all(axis=-1)
    first_N = fits_TN.argmax(axis=0)
    chosen_N2 = windows_TN2[first_N, np.arange(len(sizes_N2))]
    natural_N = np.clip(sizes_N2[:, 1] / sizes_N2[:, 0], *ratio)
    return np.where(fits_TN.any(axis=0)[:, None], chosen_N2, _largest(sizes_N2, natural_N))


def _largest(sizes_N2: Array, ratios_N: Array) -> Array:
    """The largest (h, w) with w / h = ratio inside each image."""
    heights_N = np.minimum(sizes_N2[:, 0], sizes_N2[:, 1] / ratios_N)
    return np.stack([heights_N, heights_N * ratios_N], -1)
