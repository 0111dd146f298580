"""Scaling to a fixed size, edges on edges. The resample antialiases when it shrinks."""

import numpy as np

from app.contract.augment import Resize
from worker.training import geometry
from worker.training.augment import Geometric
from worker.training.draws import Draw
from worker.training.geometry import Array


def build(spec: Resize) -> Geometric:
    """`stretch` reads the whole image, `cover` the largest window in the middle that has the output's shape."""
    aspect = spec.size[1] / spec.size[0]

    def stretch(_draw: Draw, sizes_N2: Array) -> Array:
        return geometry.window(np.zeros_like(sizes_N2), sizes_N2, spec.size)

    def cover(_draw: Draw, sizes_N2: Array) -> Array:
        windows_N2 = geometry.largest(sizes_N2, np.full(len(sizes_N2), aspect))
        return geometry.window(((sizes_N2 - windows_N2) / 2)[:, ::-1], windows_N2, spec.size)

    return Geometric(cover if spec.fit == "cover" else stretch, size_out=spec.size)
