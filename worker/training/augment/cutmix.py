"""A rectangle of the partner."""

import numpy as np

from app.contract.augment import CutMix
from worker.training import blend
from worker.training.augment import Mixing
from worker.training.blend import Blend
from worker.training.draws import Draw
from worker.training.geometry import Size

# N = images in the batch


def build(spec: CutMix) -> Mixing:
    """As in the paper's code: (1 - share) of the area, about a pixel that is drawn, halves rounded down, cut off at the
    image's edges.
    """

    def blends(draw: Draw, size: Size) -> Blend:
        sizes_2 = np.array(size)
        sides_N1 = np.sqrt(1 - draw.symmetric_beta(spec.alpha))[:, None]
        centres_N2 = np.floor(draw.uniforms(2).T * sizes_2)
        halves_N2 = np.where(draw.chance(spec.probability)[:, None], np.floor(sides_N1 * sizes_2 / 2), 0)
        first_N2 = np.maximum(centres_N2 - halves_N2, 0)
        last_N2 = np.minimum(centres_N2 + halves_N2, sizes_2)
        return blend.of_boxes(size, np.hstack([first_N2, last_N2 - first_N2]).astype(np.int64))

    return Mixing(blends)
