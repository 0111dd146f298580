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
        angles_N = np.deg2rad(draw.uniform(-spec.degrees, spec.degrees))
        turned_N = draw.chance(spec.probability)
        return geometry.about(geometry.centres(sizes_N2), geometry.rotation(np.where(turned_N, angles_N, 0.0)))

    return Geometric(matrices, border=spec.border)
