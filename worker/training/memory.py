"""When memory runs out: recognised, and answered with fewer images at a time (docs/decisions/0013).

A rank that cannot fit a step has left its fellow ranks waiting for its gradients, and no collective can be taken back.
So it says how many images it would try next and ends; the launcher starts all ranks anew with that number, from the
last checkpoint. The batch stays what it is: gradients of its pieces are added up.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from app.contract.failures import FailureCode
from worker.training.errors import RunFailure
from worker.training.shortage import TooLarge, ran_out

__all__ = ["AsManyAsFit", "MicroBatch", "TooLarge", "least_images", "ran_out", "smaller_of"]


def least_images(network: nn.Module) -> int:
    """How many images a network must be trained on at a time: batch statistics need two."""
    return 2 if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()) else 1


def smaller_of(one: int | None, other: int | None) -> int | None:
    """The stricter of two limits, of which either may be missing."""
    return min((each for each in (one, other) if each is not None), default=None)


@dataclass(frozen=True)
class MicroBatch:
    """How many images of its share of a batch a rank computes at once. The same on all ranks."""

    largest_share: int  # most images that any rank has in any step
    least: int = 1
    most: int | None = None  # null: all

    def pieces(self, images: int, fewest: int | None = None) -> int:
        """Into how many pieces a share is cut, so that none is larger than `most` or smaller than `least`.

        `fewest`: where ranks have different shares, of which `images` is the largest; all cut theirs into as many.
        """
        wanted = -(-images // (self.most or images))
        return max(1, min(wanted, (fewest or images) // self.least))

    @property
    def largest_piece(self) -> int:
        """How many images are computed at once in most steps."""
        return -(-self.largest_share // self.pieces(self.largest_share))

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Turn running out of memory into `TooLarge`, or into the run's end when nothing smaller is left to try."""
        try:
            yield
        except Exception as error:
            if not ran_out(error):
                raise
            raise self._answer(f"{type(error).__name__}: {error}") from error

    def _answer(self, why: str) -> RunFailure:
        tried = min(self.most or self.largest_share, self.largest_share)
        what = f"A step with {tried} images at a time does not fit into memory. {why[:3000]}"
        if tried <= self.least:
            return RunFailure(FailureCode.OUT_OF_MEMORY, f"{what} Fewer at a time cannot be trained on.")
        return TooLarge(what, max(self.least, -(-tried // 2)))


@dataclass
class AsManyAsFit:
    """Scores batches in pieces as large as fit, where no rank waits for another; `most` only ever gets smaller."""

    most: int = sys.maxsize

    def sum(self, score: Callable[..., torch.Tensor], *batch: torch.Tensor) -> torch.Tensor:
        """The sum of `score` over pieces of the batch. Raises when not even one image fits."""
        while True:
            try:
                pieces = zip(*(each.split(self.most) for each in batch), strict=True)
                return torch.stack([score(*piece) for piece in pieces]).sum(0)
            except Exception as error:
                tried = min(self.most, len(batch[0]))
                if tried == 1 or not ran_out(error):
                    raise
            self.most = -(-tried // 2)
