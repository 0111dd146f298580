"""PyTorch DistributedDataParallel: NCCL carries gradients between GPUs, gloo between CPU processes.

Running statistics of batch normalisation are each rank's own while training, and rank 0's are what is evaluated and
saved, as DDP itself has it; but they are sent once an epoch instead of at every step.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from app.contract.distributed import Ddp
from worker.training.distributed import Pending, Ranks, Seat

# A collective that waits longer raises. The launcher's watchdog (rule 14) ends a hang long before, with stacks.
TIMEOUT = timedelta(hours=6)
CONNECT_TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class _Sum:
    """An all-reduce under way."""

    work: dist.Work
    values: torch.Tensor

    def result(self) -> torch.Tensor:
        self.work.wait()
        return self.values


class DdpRanks:
    """One of several ranks. What ranks tell each other beside gradients has a gloo group of its own, also on GPUs,

    so that it neither waits for the device nor stands in the line of the gradients.
    """

    def __init__(self, seat: Seat) -> None:
        self.rank, self.world, self.device = seat.rank, seat.world, seat.device
        store = dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", seat.port or 0, seat.world, is_master=False, timeout=CONNECT_TIMEOUT
        )
        backend = "nccl" if seat.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=seat.rank, world_size=seat.world, timeout=TIMEOUT)
        self._talk = dist.new_group(backend="gloo", timeout=TIMEOUT)

    def wrap(self, model: nn.Module) -> nn.Module:
        """DDP gives every rank rank 0's weights here, and averages gradients during each backward pass."""
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        wrapped = DistributedDataParallel(model, device_ids=device_ids, gradient_as_bucket_view=True)
        wrapped.broadcast_buffers = False  # the argument is deprecated in torch 2.13, its successor new there
        return wrapped

    def apart(self, model: nn.Module) -> AbstractContextManager[None]:
        """DDP's own way to leave out the exchange."""
        assert isinstance(model, DistributedDataParallel)
        return model.no_sync()

    def sum_later(self, values: torch.Tensor) -> Pending:
        """A gloo all-reduce in the background."""
        return _Sum(dist.all_reduce(values, group=self._talk, async_op=True), values)

    def gather(self, message: bytes) -> list[bytes]:
        """Lengths first, then the messages, padded to the longest."""
        length = torch.tensor([len(message)])
        lengths = [torch.zeros_like(length) for _ in range(self.world)]
        dist.all_gather(lengths, length, group=self._talk)
        longest = max(int(each) for each in lengths)
        padded = torch.frombuffer(bytearray(message.ljust(longest, b"\0")), dtype=torch.uint8)
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded, group=self._talk)
        return [part.numpy().tobytes()[: int(size)] for part, size in zip(parts, lengths, strict=True)]

    def share_buffers(self, model: nn.Module) -> None:
        """One broadcast a buffer; once an epoch."""
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)

    def close(self) -> None:
        """Leave the group, in which no work is left."""
        dist.destroy_process_group()


def build(_spec: Ddp, seat: Seat) -> Ranks:
    """Join the group of all ranks. Returns when all are there."""
    return DdpRanks(seat)
