"""Mirroring as a matrix."""

from app.contract.augment import RandomFlip
from worker.training import geometry
from worker.training.augment import Geometric
from worker.training.draws import Draw
from worker.training.geometry import Array

_AXES = {"horizontal": 0, "vertical": 1}  # the coordinate that is mirrored: x or y


def build(spec: RandomFlip) -> Geometric:
    """About the middle of the image, whole pixels on whole pixels."""

    def matrices(draw: Draw, sizes_N2: Array) -> Array:
        flipped_N = draw.chance(spec.probability)
        draw.note(flipped=flipped_N)
        return geometry.mirror(sizes_N2, flipped_N, _AXES[spec.axis])

    return Geometric(matrices)
