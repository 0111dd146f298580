"""PyTorch DistributedDataParallel: NCCL carries gradients between GPUs, gloo between CPU processes.

Running statistics of batch normalisation are each rank's own while training, and rank 0's are what is evaluated and
saved, as DDP itself has it; but they are sent once an epoch instead of at every step.
"""

import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from app.contract.distributed import Ddp
from worker.training.distributed import Pending, Ranks, Seat
from worker.training.distributed._compressed import Hook, hook
from worker.training.host_copy import HostCopy

CONNECT_TIMEOUT = timedelta(minutes=5)
"""For all ranks to begin: a busy machine may fork one of them late. `timeout_s` counts from when all are there."""


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

    def __init__(self, spec: Ddp, seat: Seat) -> None:
        self.rank, self.world, self.device = seat.rank, seat.world, seat.device
        self._spec = spec
        self._hook: Hook | None = None
        timeout, port = timedelta(seconds=spec.timeout_s), seat.port or 0
        _meet(port, seat)
        store = dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", port, seat.world, is_master=False, timeout=CONNECT_TIMEOUT
        )
        store.set(f"here/{seat.rank}", "")
        store.wait([f"here/{rank}" for rank in range(seat.world)], CONNECT_TIMEOUT)
        on_gpu = seat.device.type == "cuda"
        backend = "nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=seat.rank, world_size=seat.world, timeout=timeout)
        self._talk = dist.new_group(backend="gloo", timeout=timeout)
        # On CPUs two transfers run at a time: small ones within a step would wait for gradients. On GPUs a second
        # communicator beside the first may deadlock, and the order of all that is sent is that of the stream anyway.
        self._beside = None if on_gpu else dist.new_group(backend="gloo", timeout=timeout)

    def wrap(self, model: nn.Module) -> nn.Module:
        """DDP gives every rank rank 0's weights here, and averages gradients during each backward pass."""
        wrapped = DistributedDataParallel(
            model,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            bucket_cap_mb=self._spec.bucket_mb,
            static_graph=self._spec.static_graph,
        )
        wrapped.broadcast_buffers = False  # the argument is deprecated in torch 2.13, its successor new there
        self._hook = hook(self._spec.gradient_compression, self.device)
        if self._hook:
            wrapped.register_comm_hook(self._hook.state, self._hook.exchange)
        return wrapped

    def apart(self, model: nn.Module) -> AbstractContextManager[None]:
        """DDP's own way to leave out the exchange."""
        assert isinstance(model, DistributedDataParallel)
        return model.no_sync()

    def sum_later(self, values: torch.Tensor) -> Pending:
        """A gloo all-reduce in the background."""
        return _Sum(dist.all_reduce(values, group=self._talk, async_op=True), values)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """An all-reduce of a copy."""
        summed = values.clone()
        dist.all_reduce(summed, group=self._beside)
        return summed

    def rows(self, values_K: torch.Tensor) -> torch.Tensor:
        """An all-gather."""
        rows_RK = values_K.new_empty((self.world, len(values_K)))
        dist.all_gather(list(rows_RK.unbind()), values_K, group=self._beside)
        return rows_RK

    def divided(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """ZeRO stage 1, where the spec asks for it."""
        if not self._spec.zero_optimizer:
            return optimizer
        from worker.training.distributed._divided import divided  # it loads torch's compiler of scripts

        return divided(optimizer)

    def whole_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Put together on rank 0 where it is divided."""
        if not self._spec.zero_optimizer:
            return optimizer.state_dict()
        parts = self.collect(optimizer.state_dict())
        from worker.training.distributed._divided import joined

        return joined(parts) if parts else {}

    def memory(self) -> dict[str, Any]:
        """Of compressed gradients: what was left out so far."""
        own = self._hook.memory() if self._hook else {}
        return own | {"bucket_mb": self._spec.bucket_mb} if own else {}

    def recall(self, memory: dict[str, Any]) -> None:
        """The same compression, on the same rank of as many; of buckets of another size, nothing fits."""
        if self._hook and memory and memory["bucket_mb"] == self._spec.bucket_mb:
            self._hook.recall(memory)

    def collect(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """Pickled between processes of one run."""
        found: list[Any] | None = [None] * self.world if self.rank == 0 else None
        dist.gather_object(HostCopy().of(value), found, dst=0, group=self._talk)
        return found or []

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


def build(spec: Ddp, seat: Seat) -> Ranks:
    """Join the group of all ranks. Returns when all are there."""
    return DdpRanks(spec, seat)


def _meet(port: int, seat: Seat) -> None:
    """The launcher listens before it forks: who is refused knows that the store is gone. torch asks for minutes."""
    if seat.world > 1:
        socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT.total_seconds()).close()
