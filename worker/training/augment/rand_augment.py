"""Several operations for each image, all at one strength."""

import numpy as np

from app.contract.augment import RandAugment
from worker.training import geometry, operations
from worker.training.augment import Geometric, Photometric
from worker.training.draws import Draw
from worker.training.geometry import Array, Size
from worker.training.operations import Choice, Space
from worker.training.pixels import PixelStep

_STANDARD = Space(shear=0.3, shift_pixels=0, shift_share=150 / 331, degrees=30, factor=0.9, bits=4)
_FULL = 30


def build(spec: RandAugment) -> tuple[Geometric, Photometric]:
    """Both parts draw the same numbers, each by itself: they are a function of the image and the place in the list."""

    def choices(draw: Draw) -> list[Choice]:
        strengths_N = np.full(draw.count, spec.magnitude / _FULL)
        made = [operations.choose(draw, strengths_N) for _ in range(spec.operations)]
        for number, choice in enumerate(made, start=1):
            draw.note(**{f"operation_{number}": choice.names_N, f"strength_{number}": choice.strengths_N})
        return made

    def matrices(draw: Draw, sizes_N2: Array) -> Array:
        whole_N33 = geometry.identity(draw.count)
        for choice in choices(draw):
            whole_N33 = whole_N33 @ operations.matrices(choice, _STANDARD, sizes_N2)
        return whole_N33

    def steps(draw: Draw, _size: Size) -> list[PixelStep]:
        return [step for choice in choices(draw) for step in operations.pixel_steps(choice, _STANDARD)]

    return Geometric(matrices, border=spec.border), Photometric(steps)
