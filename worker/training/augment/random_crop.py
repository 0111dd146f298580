"""Random windows as matrices: pad-and-crop at whole pixels, or an area and an aspect ratio resized to the output."""

import numpy as np

from app.contract.augment import RandomCrop
from worker.training import geometry, windows
from worker.training.augment import Geometric
from worker.training.draws import Draw
from worker.training.geometry import Array

# N = images in the batch

_RATIO = (3 / 4, 4 / 3)


def build(spec: RandomCrop) -> Geometric:
    """With `scale`, a share of the area that is resized to the output's size."""
    return _of_share(spec, spec.scale) if spec.scale else _of_pixels(spec)


def _of_pixels(spec: RandomCrop) -> Geometric:
    """Every place of the window in the padded image, the last one included. A window larger than the padded image is
    padded further: it is placed uniformly where it shows all of the image.
    """
    size = np.array(spec.size, np.float64)

    def matrices(draw: Draw, sizes_N2: Array) -> Array:
        room_N2 = sizes_N2 + 2 * spec.padding - size
        first_N2, last_N2 = np.minimum(room_N2, 0), np.maximum(room_N2, 0)
        places_N2 = np.floor(draw.uniforms(2).T * (last_N2 - first_N2 + 1)) + first_N2
        corners_N2 = places_N2 - spec.padding
        draw.note(top_left=corners_N2)
        return geometry.translation(corners_N2[:, ::-1])

    return Geometric(matrices, spec.size, spec.border)


def _of_share(spec: RandomCrop, scale: tuple[float, float]) -> Geometric:
    ratio = spec.ratio or _RATIO

    def matrices(draw: Draw, sizes_N2: Array) -> Array:
        windows_N2 = windows.drawn(draw, sizes_N2, scale, ratio)
        corners_N2 = draw.uniforms(2).T * (sizes_N2 - windows_N2)
        draw.note(top_left=corners_N2, height_width=windows_N2)
        return geometry.window(corners_N2[:, ::-1], windows_N2, spec.size)

    return Geometric(matrices, spec.size)
