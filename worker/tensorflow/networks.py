"""Which network each phase trains, and how a trained one is built again from its files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.contract.events import Phase
from app.contract.work import RunOrder
from worker.tensorflow import architecture, files, models
from worker.tensorflow.compressing import Compressed, compress
from worker.tensorflow.files import BrokenModel, Card
from worker.tensorflow.steps import normalized
from worker.training.fitting import Normalization

_PIECE = 16  # images at once


def begin(order: RunOrder, classes: Sequence[str], phase: Phase) -> Compressed:
    """The network of a phase with its initial weights: the same in every attempt. Raises `bad_spec`."""
    model, described = models.build_model(order, classes)
    methods = order.spec.compression if phase == "training" else ()
    return compress(model, described, methods, order.spec.training.seed)


def rebuild(folder: Path, stem: str = files.MODEL) -> tuple[Any, Card]:
    """The network of an export, and its card. Needs no service and no job. Raises `BrokenModel`."""
    card = files.read_card(folder, stem)
    weights = files.read_weights(folder, card, stem)
    try:
        model = architecture.assemble(card.architecture)
        architecture.set_weights(model, weights)
    except Exception as error:  # the card may name layers or sizes that the network does not have
        raise BrokenModel(f"{stem}.json describes no such network: {type(error).__name__}: {error}.") from error
    return model, card


def answers(model: Any, scaling: Normalization, images_NHWC: Any) -> Any:
    """The logits of a network for uint8 images, N x K in fp64."""
    parts = [images_NHWC[start : start + _PIECE] for start in range(0, len(images_NHWC), _PIECE)]
    return np.concatenate([model(normalized(part, scaling), training=False).numpy() for part in parts]).astype(float)
