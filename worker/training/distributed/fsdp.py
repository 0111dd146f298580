"""PyTorch FSDP2: each rank keeps its rows of every weight, of its gradient and of its moments (arXiv 2304.11277).

Blocks are gathered and let go one by one, and what lies around them with the network as a whole. Everything is gathered
in the precision of the weights; autocast computes as it does in one process.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from app.contract.distributed import Fsdp
from worker.training.blocks import units_of
from worker.training.distributed import Ranks, Seat
from worker.training.distributed._group import GroupRanks
from worker.training.distributed._rows import RowOptimizer
from worker.training.distributed.single import SingleRank


class FsdpRanks(GroupRanks):
    """One of several ranks, each with its rows of the network."""

    sharded = True

    def __init__(self, spec: Fsdp, seat: Seat) -> None:
        super().__init__(spec.timeout_s, seat)
        self._keeps = not spec.reshard_after_forward
        group: Any = dist.group.WORLD
        self._mesh = DeviceMesh.from_group(group, seat.device.type)

    def place(self, network: nn.Module) -> None:
        """Block by block: beside its rows, a device holds no more than one block of what was never on it."""
        with torch.no_grad():
            for weight in network.parameters():
                weight.data = weight.data.contiguous()  # rows of what lies pixel by pixel are not together in memory
                dist.broadcast(weight.data, src=0, group=self._talk)
        for module in units_of(network):
            sharded = fully_shard(module, mesh=self._mesh, reshard_after_forward=not self._keeps)
            # gloo takes an average for a sum (torch 2.11 to 2.13)
            sharded.set_force_sum_reduction_for_comms(self.device.type == "cpu")

    def wrap(self, model: nn.Module) -> nn.Module:
        """It was when it was placed."""
        return model

    def apart(self, model: nn.Module) -> AbstractContextManager[None]:
        """Sums of gradients are divided like the gradients: no rank has room for all of one pass's until the next."""
        return nullcontext()

    @contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """Weights that training keeps for its backward pass are let go: there is none."""
        assert isinstance(model, FSDPModule)
        model.set_reshard_after_forward(True)
        try:
            yield
        finally:
            model.set_reshard_after_forward(not self._keeps)

    def divided(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Each rank moves its rows."""
        return RowOptimizer(optimizer)

    def whole_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Divided as it is: nobody has room for all of it."""
        return optimizer.state_dict()


def build(spec: Fsdp, seat: Seat) -> Ranks:
    """Join the group of all ranks; returns when all are there. Alone, a rank keeps all of the network."""
    return FsdpRanks(spec, seat) if seat.world > 1 else SingleRank(seat.device)
