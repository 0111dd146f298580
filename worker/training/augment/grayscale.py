"""Colour taken out, as a colour map."""

import numpy as np

from app.contract.augment import Grayscale
from worker.training import colour
from worker.training.augment import Photometric
from worker.training.draws import Draw
from worker.training.geometry import Size
from worker.training.pixels import PixelStep


def build(spec: Grayscale) -> Photometric:
    """Joins the other colour changes of the list in one pass."""

    def steps(draw: Draw, _size: Size) -> list[PixelStep]:
        grey_N = draw.chance(spec.probability)
        draw.note(grey=grey_N)
        return [colour.saturation(np.where(grey_N, 0.0, 1.0))]

    return Photometric(steps)
