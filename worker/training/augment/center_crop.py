"""The middle of an image as a matrix, at whole pixels."""

import numpy as np

from app.contract.augment import CenterCrop
from worker.training import geometry
from worker.training.augment import Geometric
from worker.training.draws import Draw
from worker.training.geometry import Array


def build(spec: CenterCrop) -> Geometric:
    """Where the rest is odd, the smaller part of it is left out before, the larger behind."""

    def matrices(_draw: Draw, sizes_N2: Array) -> Array:
        return geometry.translation(np.floor((sizes_N2 - spec.size) / 2)[:, ::-1])

    return Geometric(matrices, spec.size, spec.border)
