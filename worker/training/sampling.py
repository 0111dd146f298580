"""Which rank sees which sample at which step: a pure function of the seed, the epoch and the number of ranks.

The global batch is the same whatever the number of ranks; each sample is seen exactly once an epoch.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.contract.failures import FailureCode
from worker.training.errors import RunFailure

Indices = npt.NDArray[np.int64]

# What the generator is keyed with, beside seed and epoch: other users of the same seed draw other numbers.
_ORDER_STREAM = 0x6F72646572


def order(images: int, seed: int, epoch: int) -> Indices:
    """All sample indices, shuffled for `epoch` (from 0). The same on every rank, machine and attempt."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, _ORDER_STREAM))))
    return generator.permutation(images)


def batch_edges(images: int, batch_size: int, ranks: int) -> list[int]:
    """Where the global batches of an epoch begin, and the end of the last: step k takes [edges[k], edges[k + 1]).

    A rest of fewer than 2 samples a rank joins the batch before it: batch normalisation cannot train on one value.
    Raises `bad_dataset` when there are not even 2 samples for each rank.
    """
    if images < 2 * ranks:
        message = f"{images} training images are too few for {ranks} processes: each needs at least 2."
        raise RunFailure(FailureCode.BAD_DATASET, message)
    edges = [*range(0, images, batch_size), images]
    if len(edges) > 2 and edges[-1] - edges[-2] < 2 * ranks:
        del edges[-2]
    return edges


def steps_per_epoch(images: int, batch_size: int, ranks: int) -> int:
    """Optimizer steps that one pass over the training images takes."""
    return len(batch_edges(images, batch_size, ranks)) - 1


def largest_share(images: int, batch_size: int, ranks: int) -> int:
    """Most images that any rank has in any step."""
    edges = batch_edges(images, batch_size, ranks)
    return -(-max(after - before for before, after in pairwise(edges)) // ranks)


def batches(images: int, batch_size: int, ranks: int, seed: int, epoch: int) -> list[Indices]:
    """The global batches of an epoch, in the order of its steps."""
    shuffled = order(images, seed, epoch)
    return np.split(shuffled, batch_edges(images, batch_size, ranks)[1:-1])


def partners(shuffled: Indices) -> Indices:
    """Whom each sample is mixed with in an epoch: entry i is the partner of sample i, and i that of its partner.

    Neighbours in the epoch's order, two by two: in a random order every other sample is equally likely, and neither
    batches nor ranks have a part in it. The last of an odd number is left to itself.
    """
    pairs_K2 = shuffled[: len(shuffled) // 2 * 2].reshape(-1, 2)
    found = np.arange(len(shuffled), dtype=np.int64)
    found[pairs_K2] = pairs_K2[:, ::-1]
    return found


def share(batch: Indices, rank: int, ranks: int) -> Indices:
    """The part of a global batch that one rank computes: contiguous, sizes differing by at most 1."""
    return np.array_split(batch, ranks)[rank]


def evaluation_shares(images: int, batch_size: int, rank: int, ranks: int) -> Sequence[Indices]:
    """This rank's validation batches: every image exactly once over all ranks; some ranks may have one batch fewer."""
    mine = np.array_split(np.arange(images, dtype=np.int64), ranks)[rank]
    return [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
