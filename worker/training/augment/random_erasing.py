"""A rectangle of the final image covered."""

import numpy as np

from app.contract.augment import RandomErasing
from worker.training import geometry, windows
from worker.training.augment import Photometric
from worker.training.draws import Draw
from worker.training.geometry import Size
from worker.training.pixels import Erase, PixelStep

# N = images in the batch


def build(spec: RandomErasing) -> Photometric:
    """At whole pixels, every place of the rectangle equally likely."""

    def steps(draw: Draw, size: Size) -> list[PixelStep]:
        sizes_N2 = geometry.repeat(size, draw.count)
        boxes_N2 = np.maximum(np.rint(windows.drawn(draw, sizes_N2, spec.scale, spec.ratio)), 1)
        corners_N2 = np.floor(draw.uniforms(2).T * (sizes_N2 - boxes_N2 + 1))
        boxes_N2 = np.where(draw.chance(spec.probability)[:, None], boxes_N2, 0)
        draw.note(top_left=corners_N2, height_width=boxes_N2)
        return [Erase(np.hstack([corners_N2, boxes_N2]).astype(np.int64), spec.fill, draw.uniforms(1)[0])]

    return Photometric(steps)
