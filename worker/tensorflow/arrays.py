"""Batches as NumPy's arrays: the executor of the augmentation plan for whoever trains without torch.

The pixels are those of torch's path on the CPU: the same plan, run by the same OpenCV code, image by image.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.training import augment
from worker.training.augment import Image, Pipeline, Plan

# N = images in a batch, H W = height and width, C = channels

Array = npt.NDArray[Any]


class InArrays:
    """See worker.training.loader.Executor."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._size = pipeline.size

    def begin(self, count: int, channels: int) -> "_Filling":
        """A batch of `count` images."""
        return _Filling(np.empty((count, *self._size, channels), np.uint8))

    def labels(self, labels_N: npt.NDArray[np.int64]) -> Array:
        """As they are."""
        return labels_N


class _Filling:
    def __init__(self, images_NHWC: Array) -> None:
        self._images_NHWC = images_NHWC

    def add(self, start: int, images: Iterable[Image], plan: Plan) -> None:
        augment.fill(self._images_NHWC[start:], images, plan)

    def result(self) -> Array:
        return self._images_NHWC
