"""Networks: which one is trained, and from which weights it starts.

To add a kind: a class in app/contract/models.py, a file of the same name here with `build(spec) -> ModelKind`, and
tests/worker/training/models/test_<kind>.py.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from app.contract.models import Checkpoint
from app.contract.work import RunOrder
from worker.training import plugins
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.errors import RunFailure, bad_spec


class ModelKind(Protocol):
    """What a model kind knows."""

    def architecture(self, order: RunOrder, classes: Sequence[str]) -> Architecture:
        """The network for these classes. Raises `bad_spec` when it cannot serve them, or its weights are missing."""

    def starts_from_weights(self) -> bool:
        """Whether `load` changes anything: otherwise the network starts from random weights."""

    def load(self, model: nn.Module, order: RunOrder, classes: Sequence[str]) -> None:
        """Put the weights to start from into a model that `architecture` describes. Raises `bad_spec`."""


def describe(order: RunOrder, classes: Sequence[str]) -> Architecture:
    """The network that the spec names, before this job's compression. Builds nothing."""
    return _kind(order).architecture(order, classes)


def starts_from_weights(order: RunOrder) -> bool:
    """Whether the network starts from trained weights instead of random ones."""
    return _kind(order).starts_from_weights()


def build_model(order: RunOrder, classes: Sequence[str]) -> nn.Module:
    """The network that the spec names, before this job's compression, with its initial weights: fp32, on the CPU.

    Random weights are a function of `training.seed` alone: the same in every rank and attempt, and drawing them leaves
    the global generators as they were. Raises `bad_spec` when the network cannot be built.
    """
    kind = _kind(order)
    architecture = kind.architecture(order, classes)
    with seeded(order.spec.training.seed, "model"):
        model = _assembled(architecture, order)
        kind.load(model, order, classes)
    return model


def sketch(order: RunOrder, classes: Sequence[str]) -> nn.Module:
    """The same network for looking at: without memory (on the meta device) where it would start from random weights.

    Weights that the spec names are really loaded, so that a broken file is found before a device is held.
    """
    kind = _kind(order)
    if kind.starts_from_weights():
        return build_model(order, classes)
    architecture = kind.architecture(order, classes)
    try:
        with torch.device("meta"):
            return assemble(architecture)
    except Exception:  # noqa: BLE001 - timm has networks that compute while being built
        return build_model(order, classes)


def _kind(order: RunOrder) -> ModelKind:
    kind: ModelKind = plugins.build("models", order.spec.model)
    return kind


def _assembled(architecture: Architecture, order: RunOrder) -> nn.Module:
    try:
        return assemble(architecture)
    except RunFailure:
        raise
    except Exception as error:  # timm's own refusals have no type in common
        reason = f"{type(error).__name__}: {error}"
        if isinstance(order.spec.model, Checkpoint):
            detail = (
                f"The model.json of {order.spec.model.job} describes no network ({reason}): use another job's model."
            )
            raise bad_spec("/model/job", detail[:1000], "model_broken") from error
        size = (
            f" for {architecture.image_size[0]}x{architecture.image_size[1]} images" if architecture.image_size else ""
        )
        detail = f"timm cannot build {architecture.name}{size} ({reason}): use another image size or model."
        raise bad_spec("/model/name", detail, "cannot_be_built") from error
