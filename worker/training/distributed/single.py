"""One process on one device: there is nobody to talk to."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from app.contract.distributed import Single
from worker.training.distributed import Pending, Ranks, Seat


@dataclass(frozen=True)
class _Done:
    """A sum over one rank is there at once."""

    values: torch.Tensor

    def result(self) -> torch.Tensor:
        return self.values


@dataclass
class SingleRank:
    """The only rank."""

    device: torch.device
    rank: int = 0
    world: int = 1

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def apart(self, model: nn.Module) -> AbstractContextManager[None]:
        """It always is."""
        return nullcontext()

    def sum_later(self, values: torch.Tensor) -> Pending:
        """The values themselves."""
        return _Done(values)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The values themselves."""
        return values

    def rows(self, values_K: torch.Tensor) -> torch.Tensor:
        """One row."""
        return values_K[None]

    def divided(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The whole."""
        return optimizer

    def whole_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Its state."""
        return optimizer.state_dict()

    def memory(self) -> dict[str, Any]:
        """Nothing is exchanged."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """There is nothing to go on from."""

    def collect(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """The value itself."""
        return [value]

    def gather(self, message: bytes) -> list[bytes]:
        """The message itself."""
        return [message]

    def share_buffers(self, model: nn.Module) -> None:
        """They are rank 0's already."""

    def close(self) -> None:
        """Nothing to leave."""


def build(_spec: Single, seat: Seat) -> Ranks:
    """A group of one."""
    return SingleRank(seat.device)
