"""A Gaussian of a drawn width over the final image."""

import numpy as np

from app.contract.augment import GaussianBlur
from worker.training.augment import Photometric
from worker.training.draws import Draw
from worker.training.geometry import Size
from worker.training.pixels import Blur, PixelStep


def build(spec: GaussianBlur) -> Photometric:
    """Deviations are uniform between the two given."""

    def steps(draw: Draw, _size: Size) -> list[PixelStep]:
        sigmas_N = draw.uniform(*spec.sigma)
        sigmas_N = np.where(draw.chance(spec.probability), sigmas_N, 0.0)
        draw.note(sigma=sigmas_N)
        return [Blur(sigmas_N)]

    return Photometric(steps)
