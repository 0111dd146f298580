"""Scaling to a fixed size, edges on edges. The resample antialiases when it shrinks."""

import numpy as np

from app.contract.augment import Resize
from worker.training import geometry
from worker.training.augment import Geometric
from worker.training.geometry import Array


def build(spec: Resize) -> Geometric:
    """The same in training and evaluation."""

    def matrices(sizes_N2: Array) -> Array:
        return geometry.window(np.zeros_like(sizes_N2), sizes_N2, spec.size)

    return Geometric(train=lambda _draw, sizes_N2: matrices(sizes_N2), evaluate=matrices, size_out=spec.size)
