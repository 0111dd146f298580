"""Training images as evaluation shows them, for the ranges of activations."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from app.contract.work import RunOrder
from worker.training import augment, data
from worker.training.images import Images as Source
from worker.training.loader import Loader

_BATCH = 32


@dataclass(frozen=True)
class Images:
    """At most `most` training images, spread evenly over the set, which is sorted by class."""

    order: RunOrder
    most: int
    threads: int

    def __len__(self) -> int:
        return len(self._chosen)

    def batches(self) -> Iterator[npt.NDArray[np.float32]]:
        """As float32 NCHW in [0, 1]."""
        parts = [self._chosen[start : start + _BATCH] for start in range(0, len(self._chosen), _BATCH)]
        with Loader[torch.Tensor](self._source, augment.compile(self.order.spec), self.threads) as loader:
            for batch in loader.evaluate(parts):
                yield batch.images_NHWC.numpy().transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)

    @cached_property
    def _source(self) -> Source:
        return data.load(self.order).train

    @cached_property
    def _chosen(self) -> npt.NDArray[np.int64]:
        count = len(self._source)
        return np.unique(np.linspace(0, count - 1, min(self.most, count)).astype(np.int64))
