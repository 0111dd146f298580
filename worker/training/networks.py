"""Which network each phase trains: the baseline as the spec names it, the shipped one compressed."""

from collections.abc import Sequence

from torch import nn

from app.contract.events import Phase
from app.contract.work import RunOrder
from worker.training import architecture
from worker.training.compression import compress
from worker.training.models import build_model


def build_network(order: RunOrder, classes: Sequence[str], phase: Phase) -> nn.Module:
    """On the CPU, with its initial weights: the same in every rank and attempt. Raises `bad_spec`.

    What compression does during training is not done to it yet.
    """
    network = build_model(order, classes)
    if phase == "training":
        spec = order.spec
        channels = architecture.of(network).channels
        seed = spec.training.seed
        compress(network, spec.compression, spec.image_size, channels, seed, when="before training")
    return network
