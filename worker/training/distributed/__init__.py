"""How the ranks of one run work together. A kind is a file with `build(spec, seat) -> Ranks`.

Everything else in training is written once, for any number of ranks, against `Ranks`.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from app.contract.distributed import Distributed
from worker.training.plugins import build

# R = ranks of the run


@dataclass(frozen=True)
class Seat:
    """Where a rank sits: its number, of how many, on which device, and the loopback port of the launcher's store."""

    rank: int
    world: int
    device: torch.device
    port: int | None = None


class Pending(Protocol):
    """A sum that is under way."""

    def result(self) -> torch.Tensor:
        """Wait for it. The same bits on every rank."""
        ...


class Ranks(Protocol):
    """One rank's view of all. Each method that communicates is called by all ranks, in the same order."""

    rank: int
    world: int
    device: torch.device

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as it is to be trained: its gradients come out averaged over the ranks, with equal weights."""
        ...

    def apart(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside, forward and backward passes of a wrapped model add up the rank's own gradients; the first pass after

        it averages the sums. No communication.
        """
        ...

    def sum_later(self, values: torch.Tensor) -> Pending:
        """Begin to add up a CPU tensor over the ranks, in place and beside the training."""
        ...

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor of the device over the ranks; what is given stays. For kilobytes, within a step."""
        ...

    def rows(self, values_K: torch.Tensor) -> torch.Tensor:
        """What each rank has, R x K, on all of them. For kilobytes, within a step."""
        ...

    def divided(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The optimizer as this rank steps it: the same, or its part of one that the ranks divide among them."""
        ...

    def whole_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The state of an optimizer that may be divided, as one that is not has it: on rank 0. Called by all."""
        ...

    def memory(self) -> dict[str, Any]:
        """What the exchange of gradients on this rank remembers from step to step: tensors and plain values."""
        ...

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on from what `memory` gave, on the same rank of as many."""
        ...

    def collect(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """Every rank's tensors and plain values, copied to the CPU of rank 0; nothing on the others. Called by all."""
        ...

    def gather(self, message: bytes) -> list[bytes]:
        """What each rank says, in the order of ranks, on all of them. For kilobytes, not for weights."""
        ...

    def share_buffers(self, model: nn.Module) -> None:
        """Give every rank rank 0's buffers, such as the running statistics of batch normalisation."""
        ...

    def close(self) -> None:
        """Leave the group. Nothing can be said afterwards."""
        ...


def connect(spec: Distributed, seat: Seat) -> Ranks:
    """Join the other ranks of the run."""
    ranks: Ranks = build("distributed", spec, seat)
    return ranks
