"""Which rank sees which sample at which step: a pure function of the seed, the epoch and the number of ranks.

The global batch is the same whatever the number of ranks; each sample is seen exactly once an epoch. A batch is first
cut into the passes of its step and then each pass into the ranks' parts, so that one rank and several see the same
samples together in a pass: batch statistics over all ranks are then the same too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Division:
    """Into what each global batch is divided."""

    batch_size: int
    ranks: int = 1
    passes: int = 1

    @property
    def least(self) -> int:
        """Samples that a rank must have at a time where it has any: batch normalisation cannot train on one value.

        One is enough where the spec itself asks for one; the planner has then seen that the network bears it.
        """
        return 2 if self.batch_size >= 2 * self.ranks * self.passes else 1


@dataclass(frozen=True)
class Portion:
    """What one rank computes in one pass of a step."""

    indices_N: Indices
    counts: bool
    """False: another rank has these samples. This one computes with them only to keep the others company."""
    most: int
    """Samples that any rank has in this pass."""
    fewest: int


def batch_edges(images: int, batch_size: int, ranks: int) -> list[int]:
    """Where the global batches of an epoch begin, and the end of the last: step k takes [edges[k], edges[k + 1]).

    All are full but the last two, which share what is left for them: a batch of a handful of images would be a step of
    its own, and batch normalisation would take a tenth of its running statistics from them right before the evaluation.
    It cannot train on a single image: three that are left for batches of 2 stay together.

    The number of ranks has no part in that; it is there to be refused: raises `bad_dataset` when there are not even 2
    samples for each.
    """
    if images < 2 * ranks:
        message = f"{images} training images are too few for {ranks} processes: each needs at least 2."
        raise RunFailure(FailureCode.BAD_DATASET, message)
    edges = [*range(0, images, batch_size), images]
    if len(edges) > 2 and images % batch_size:
        del edges[-2]
        middle = (edges[-2] + images + 1) // 2
        if images - middle > 1:
            edges.insert(-1, middle)
    return edges


def steps_per_epoch(images: int, batch_size: int, ranks: int) -> int:
    """Optimizer steps that one pass over the training images takes."""
    return len(batch_edges(images, batch_size, ranks)) - 1


def largest_share(images: int, batch_size: int, ranks: int, passes: int = 1) -> int:
    """Most images that any rank has at once, in any pass of any step."""
    return max(_sizes(images, Division(batch_size, ranks, passes)))


def smallest_share(images: int, batch_size: int, ranks: int, passes: int = 1) -> int:
    """Fewest images that a rank has at once, in any pass of any step."""
    return min(_sizes(images, Division(batch_size, ranks, passes)))


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


def portions(batch: Indices, rank: int, division: Division) -> list[Portion]:
    """What one rank computes in each pass of a step: contiguous parts, whose sizes differ by at most 1.

    At the end of an epoch there may be too few samples for all passes and all ranks. Then there are fewer passes, of at
    least 2 samples each, and the ranks without samples of their own take the first one's.
    """
    return [_portion(each, rank, division) for each in np.array_split(batch, _passes(len(batch), division))]


def _portion(samples: Indices, rank: int, division: Division) -> Portion:
    parts = np.array_split(samples, _ranks(len(samples), division))
    counts = rank < len(parts)
    return Portion(parts[rank if counts else 0], counts, len(parts[0]), len(parts[-1]))


def _passes(samples: int, division: Division) -> int:
    return max(1, min(division.passes, samples // 2))


def _ranks(samples: int, division: Division) -> int:
    """How many ranks have a part in a pass."""
    return max(1, min(division.ranks, samples // division.least))


def _sizes(images: int, division: Division) -> set[int]:
    """Of all portions of an epoch; batches differ in size only at its end."""
    edges = batch_edges(images, division.batch_size, division.ranks)
    steps = {after - before for before, after in pairwise(edges)}
    found = [portion for step in steps for portion in portions(np.arange(step), 0, division)]
    return {size for portion in found for size in (portion.most, portion.fewest)}


def evaluation_shares(images: int, batch_size: int, rank: int, ranks: int) -> Sequence[Indices]:
    """This rank's validation batches: every image exactly once over all ranks; some ranks may have one batch fewer."""
    mine = np.array_split(np.arange(images, dtype=np.int64), ranks)[rank]
    return [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
