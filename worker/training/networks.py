"""Which network each phase trains: the baseline as the spec names it, the shipped one compressed."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from app.contract.events import Phase
from app.contract.work import RunOrder
from worker.training import architecture
from worker.training.compressing import Outcome, outcomes
from worker.training.models import build_model, starts_from_weights


@dataclass(frozen=True)
class Beginning:
    """A network as training begins with it, and what each method of compression did to it, in order."""

    network: nn.Module
    outcomes: list[Outcome]
    statistics_stale: bool
    """Running statistics are of a trained network that computes something else now."""


def begin(order: RunOrder, classes: Sequence[str], phase: Phase) -> Beginning:
    """The network of a phase on the CPU, with its initial weights: the same in every rank and attempt.

    What compression does during training is not done to it yet. Raises `bad_spec`.
    """
    network = build_model(order, classes)
    if phase != "training":
        return Beginning(network, [], False)
    spec = order.spec
    channels, seed = architecture.of(network).channels, spec.training.seed
    applied = outcomes(network, spec.compression, spec.image_size, channels, seed, when="before training")
    stale = starts_from_weights(order) and not all(each.exact for each in applied)
    return Beginning(network, applied, stale)
