"""One process on one device: there is nobody to talk to."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

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
