"""A share of the partner in every pixel."""

import numpy as np

from app.contract.augment import Mixup
from worker.training import blend
from worker.training.augment import Mixing
from worker.training.blend import Blend
from worker.training.draws import Draw
from worker.training.geometry import Size


def build(spec: Mixup) -> Mixing:
    """The paper draws one share for a whole batch; here each image has its own."""

    def blends(draw: Draw, size: Size) -> Blend:
        keep_N = draw.symmetric_beta(spec.alpha)
        return blend.of_shares(size, np.where(draw.chance(spec.probability), keep_N, 1.0))

    return Mixing(blends)
