"""Shift, scale and shear as one matrix about the centre."""

import numpy as np

from app.contract.augment import RandomAffine
from worker.training import geometry
from worker.training.augment import Geometric
from worker.training.draws import Draw
from worker.training.geometry import Array

# N = images in the batch


def build(spec: RandomAffine) -> Geometric:
    """First sheared, then scaled, then shifted."""
    height, width = spec.translate or (0.0, 0.0)
    smallest, largest = np.log(spec.scale or (1.0, 1.0))

    def matrices(draw: Draw, sizes_N2: Array) -> Array:
        drawn_5N = draw.uniforms(5)
        changed_N = draw.chance(spec.probability)
        shifts_N2 = (2 * drawn_5N[:2].T - 1) * (width, height) * sizes_N2[:, ::-1]
        scales_N = np.exp(smallest + (largest - smallest) * drawn_5N[2])
        degrees_2N = (spec.shear or 0.0) * (2 * drawn_5N[3:] - 1)
        draw.note(changed=changed_N, down_right=shifts_N2[:, ::-1], scale=scales_N, shear_degrees=degrees_2N.T)
        leans_2N = np.tan(np.deg2rad(degrees_2N))
        linear_N22 = geometry.shear(*leans_2N) / scales_N[:, None, None]
        about_N33 = geometry.about(geometry.centres(sizes_N2), linear_N22)
        whole_N33 = about_N33 @ geometry.translation(-shifts_N2)
        return np.where(changed_N[:, None, None], whole_N33, geometry.identity(len(sizes_N2)))

    return Geometric(matrices, border=spec.border)
