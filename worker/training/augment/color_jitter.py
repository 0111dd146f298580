"""Brightness, contrast, saturation and hue as one colour map for each image."""

import numpy as np

from app.contract.augment import ColorJitter
from worker.training import colour
from worker.training.augment import Photometric
from worker.training.draws import Draw
from worker.training.geometry import Size
from worker.training.pixels import PixelStep


def build(spec: ColorJitter) -> Photometric:
    """In this order; with one cut-off at the end another order would hardly differ."""

    def steps(draw: Draw, _size: Size) -> list[PixelStep]:
        drawn_4N = np.where(draw.chance(spec.probability), 2 * draw.uniforms(4) - 1, 0.0)
        return [
            colour.chain(
                colour.brightness(1 + spec.brightness * drawn_4N[0]),
                colour.contrast(1 + spec.contrast * drawn_4N[1]),
                colour.saturation(1 + spec.saturation * drawn_4N[2]),
                colour.hue(spec.hue * drawn_4N[3]),
            )
        ]

    return Photometric(steps)
