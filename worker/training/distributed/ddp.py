"""PyTorch DistributedDataParallel: NCCL carries gradients between GPUs, shared memory or gloo between CPU processes.

Running statistics of batch normalisation are each rank's own while training, and rank 0's are what is evaluated and
saved, as DDP itself has it; but they are sent once an epoch instead of at every step.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from app.contract.distributed import Ddp
from worker.training.distributed import Ranks, Seat
from worker.training.distributed._compressed import Hook, hook
from worker.training.distributed._group import GroupRanks
from worker.training.distributed._shared_sum import average, copies


class DdpRanks(GroupRanks):
    """One of several ranks, each with the whole network."""

    def __init__(self, spec: Ddp, seat: Seat) -> None:
        super().__init__(spec.timeout_s, seat)
        self._spec = spec
        self._hook: Hook | None = None

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
        found = self._hook_for(model)
        if found:
            wrapped.register_comm_hook(found.state, found.exchange)
        self._hook = found if found and found.state else None  # memory that is shared goes with the network
        return wrapped

    def _hook_for(self, model: nn.Module) -> Hook | None:
        if _adds_up_itself(self._spec, self.device.type):
            return average(self, (weight for weight in model.parameters() if weight.requires_grad))
        return hook(self._spec.gradient_compression, self.device)

    def apart(self, model: nn.Module) -> AbstractContextManager[None]:
        """DDP's own way to leave out the exchange."""
        assert isinstance(model, DistributedDataParallel)
        return model.no_sync()

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


def copies_kept(spec: Ddp, processes: int, device_kind: str) -> int:
    """How many copies of its gradients a process keeps for the exchange, beside DDP's buckets."""
    return copies(processes) if _adds_up_itself(spec, device_kind) else 0


def _adds_up_itself(spec: Ddp, device_kind: str) -> bool:
    return spec.gradient_compression == "none" and device_kind == "cpu"


def build(spec: Ddp, seat: Seat) -> Ranks:
    """Join the group of all ranks. Returns when all are there."""
    return DdpRanks(spec, seat)
