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
        strengths_31 = np.array([[spec.brightness], [spec.contrast], [spec.saturation]])
        brightness_N, contrast_N, saturation_N = 1 + strengths_31 * drawn_4N[:3]
        hue_N = spec.hue * drawn_4N[3]
        draw.note(brightness=brightness_N, contrast=contrast_N, saturation=saturation_N, hue_turns=hue_N)
        return [
            colour.chain(
                colour.brightness(brightness_N),
                colour.contrast(contrast_N),
                colour.saturation(saturation_N),
                colour.hue(hue_N),
            )
        ]

    return Photometric(steps)
