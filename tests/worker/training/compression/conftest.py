"""Networks to compress."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from worker.training.architecture import Architecture, assemble, seeded

Make = Callable[..., nn.Module]


@pytest.fixture
def make() -> Make:
    """A timm network by name, in evaluation mode, with weights that depend on nothing."""

    def make(name: str, device: str = "cpu", outputs: int = 10, channels: int = 3) -> nn.Module:
        architecture = Architecture(name=name, channels=channels, outputs=outputs)
        with seeded(0, name), torch.device(device):
            return assemble(architecture).eval()

    return make
