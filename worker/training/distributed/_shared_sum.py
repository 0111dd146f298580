"""Gradients of processes on one host's CPUs, averaged in memory that they share (docs/decisions/0037).

Each rank writes its share of the average into a place of its own, a sum of one number over gloo tells that all have
written, and each rank adds up all places, in the order of ranks: so all get the same bits. A rank that dies, hangs or
leaves is met in that sum, as it would be in gloo's own of the gradients.

**Why two turns are enough.** No rank tells when it has read. Passes with an exchange take turns of the memory, and a
rank writes in pass t + 2 where others read in pass t:

- In such a pass DDP exchanges each bucket once, on all ranks in the same order, and all of them together hold each
  weight's gradient once. So the ranks agree, without a word, where a bucket's place is and when a turn is over: when
  as many bytes have come as there are gradients. Buckets that are put together anew, as behind the first pass, change
  nothing in that: each turn is laid out as its buckets come. (Their numbers would not do: all are 0 in the first pass
  of a static graph, as seen in torch 2.13.)
- A backward pass of DDP ends when the exchanges of all buckets have, reading included. So a rank that writes in pass
  t + 2 has seen the sums of pass t + 1, and a rank that took part in those had read all of pass t.
- Passes without an exchange (`no_sync`) take no turn. One that fails part of the way is not repeated by the same
  processes: DDP refuses the next, and the ranks are started anew (docs/decisions/0013).
"""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import GradBucket

from worker.training.distributed._compressed import Exchange, Hook
from worker.training.distributed._shared_memory import Group, shared

MOST_RANKS = 4
"""Each rank adds up the places of all, so work grows with the ranks, and gloo's ring does not. Of gloo's processor time

for 44 MB: 0.45 with 2 ranks, 0.55 with 4, 1.0 with 8 (docs/experiments.md).
"""
TURNS = 2
_ALIGNED = 64
"""Bytes. A line of the cache has one writer, and places begin at a whole number of any type."""


def copies(ranks: int) -> int:
    """How many copies of its gradients each rank has in the memory that is shared; 0: none is."""
    return TURNS if 1 < ranks <= MOST_RANKS else 0


def average(group: Group, weights: Iterable[torch.Tensor]) -> Hook | None:
    """How DDP averages gradients of `weights` on CPUs; null: as it does by itself. Called by all, for each network.

    Every rank gets the same answer.
    """
    if group.world == 1:
        return Hook(_as_it_is, None)
    if not copies(group.world):
        return None
    sizes = [weight.numel() * weight.element_size() for weight in weights]
    most_bytes = sum(map(_aligned, sizes))  # if each had a bucket of its own
    memory = shared(group, TURNS * most_bytes)
    if memory is None:
        return None
    turns = _Turns(memory.view(group.world, TURNS, most_bytes), sum(sizes))
    return Hook(_exchange(turns, group.rank), None)


def _as_it_is(_state: object, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
    """The average over one rank."""
    future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


def _exchange(turns: "_Turns", rank: int) -> Exchange:
    def exchange(_state: object, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
        gradients_N = bucket.buffer()
        places = turns.places(gradients_N)
        torch.div(gradients_N, len(places), out=places[rank])
        written = dist.all_reduce(torch.zeros(1), async_op=True).get_future()

        def add(told: torch.futures.Future[list[torch.Tensor]]) -> torch.Tensor:
            told.value()  # raises where a rank is gone
            torch.add(places[0], places[1], out=gradients_N)
            for place_N in places[2:]:
                gradients_N.add_(place_N)
            return gradients_N

        return written.then(add)

    return exchange


class _Turns:
    """Which part of the memory is whose: R ranks x T turns x B bytes. A turn takes `gradient_bytes`, in buckets."""

    def __init__(self, memory_RTB: torch.Tensor, gradient_bytes: int) -> None:
        self._memory_RTB = memory_RTB
        self._gradient_bytes = gradient_bytes
        self._turn = self._come = self._first = 0

    def places(self, like_N: torch.Tensor) -> Sequence[torch.Tensor]:
        """Where each rank writes the bucket that comes next, in the order of ranks."""
        size = like_N.numel() * like_N.element_size()
        if self._come == self._gradient_bytes:
            self._turn = (self._turn + 1) % TURNS
            self._come = self._first = 0
        first = self._first
        self._come += size
        self._first += _aligned(size)
        assert self._come <= self._gradient_bytes, "a bucket came twice"
        return self._memory_RTB[:, self._turn, first : first + size].view(like_N.dtype).unbind()


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
