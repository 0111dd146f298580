"""One operation for each image at a strength drawn for it."""

import numpy as np

from app.contract.augment import TrivialAugment
from worker.training import operations
from worker.training.augment import Geometric, Photometric
from worker.training.draws import Draw
from worker.training.geometry import Array, Size
from worker.training.operations import Choice, Space
from worker.training.pixels import PixelStep

_WIDE = Space(shear=0.99, shift_pixels=32, shift_share=0, degrees=135, factor=0.99, bits=6)
_LEVELS = 31


def build(spec: TrivialAugment) -> tuple[Geometric, Photometric]:
    """Both parts draw the same numbers, each by itself: they are a function of the image and the place in the list."""

    def choice(draw: Draw) -> Choice:
        levels_N = np.floor(draw.uniforms(1)[0] * _LEVELS)
        made = operations.choose(draw, levels_N / (_LEVELS - 1))
        draw.note(operation=made.names_N, strength=made.strengths_N)
        return made

    def matrices(draw: Draw, sizes_N2: Array) -> Array:
        return operations.matrices(choice(draw), _WIDE, sizes_N2)

    def steps(draw: Draw, _size: Size) -> list[PixelStep]:
        return operations.pixel_steps(choice(draw), _WIDE)

    return Geometric(matrices, border=spec.border), Photometric(steps)
