"""Networks: which is trained, and from which weights. A kind is a file with `build(spec, order, classes) -> Start`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import keras

from app.contract.work import RunOrder
from worker.tensorflow import architecture
from worker.tensorflow.architecture import Architecture
from worker.training.errors import bad_spec


@dataclass(frozen=True)
class Start:
    """A network as data, and the weights that it begins with: null for random ones."""

    architecture: Architecture
    weights: Mapping[str, Any] | None = None


def describe(order: RunOrder, classes: Sequence[str]) -> Start:
    """What the spec names, before this job's compression. Raises `bad_spec`."""
    spec = order.spec.model
    found: Start = import_module(f"{__name__}.{spec.kind}").build(spec, order, classes)
    return found


def build_model(order: RunOrder, classes: Sequence[str]) -> tuple[Any, Architecture]:
    """The same as a network. Random weights are a function of `training.seed` alone. Raises `bad_spec`."""
    start = describe(order, classes)
    keras.utils.set_random_seed(order.spec.training.seed % 2**32)
    try:
        model = architecture.assemble(start.architecture)
    except Exception as error:
        raise _cannot_be_built(start.architecture, error) from error
    if start.weights is not None:
        architecture.set_weights(model, start.weights)
    return model, start.architecture


def _cannot_be_built(described: Architecture, error: Exception) -> Exception:
    height, width = described.image_size
    reason = f"{type(error).__name__}: {error}"[:500]
    detail = f"Keras cannot build {described.name} for {height}x{width} images ({reason}): use another size or model."
    return bad_spec("/model", detail, "cannot_be_built")
