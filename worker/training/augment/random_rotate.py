"""Rotation as a matrix, about the pixel centre, so that 180 degrees is the exact double flip."""

import numpy as np

from app.contract.augment import RandomRotate
from worker.training import geometry
from worker.training.augment import Geometric
from worker.training.draws import Draw
from worker.training.geometry import Array


def build(spec: RandomRotate) -> Geometric:
    """Angles are uniform; an image that is not turned keeps its exact pixels."""

    def matrices(draw: Draw, sizes_N2: Array) -> Array:
        degrees_N = draw.uniform(-spec.degrees, spec.degrees)
        degrees_N = np.where(draw.chance(spec.probability), degrees_N, 0.0)
        draw.note(degrees=degrees_N)
        return geometry.about(geometry.centres(sizes_N2), geometry.rotation(np.deg2rad(degrees_N)))

    return Geometric(matrices, border=spec.border)
