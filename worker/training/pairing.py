"""Which images a share of a step must read to be mixed, and where each one's partner stands among them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.training.augment import Pipeline
from worker.training.blend import Blend

# N = samples of a share, R = these and the partners from elsewhere

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mix:
    """How one share of a step is mixed."""

    reading_R: Indices
    """What must be loaded: the share's samples, then the partners that are not among them."""
    places_N: Indices
    """Where in `reading` the partner of each of the share's samples stands."""
    blend: Blend


def plan(pipeline: Pipeline, share_N: Indices, partners: Indices, epoch: int) -> Mix:
    """How the samples of a share are mixed in `epoch`, from 0. `partners`: those of all samples, by sample."""
    blend = pipeline.blend(share_N, epoch)
    wanted_N = np.where(blend.weights_N < 1, partners[share_N], share_N)
    reading_R = np.concatenate([share_N, np.setdiff1d(wanted_N, share_N)])
    order_R = np.argsort(reading_R)
    return Mix(reading_R, order_R[np.searchsorted(reading_R, wanted_N, sorter=order_R)], blend)
