"""timm's MobileNetV2 with the initial weights that Keras draws for its own: `... keras SPEC WEIGHTS.npz`, then `...
torch SPEC WEIGHTS.npz FOLDER`, which leaves the files of a network that a job can start from.

The layers come in the same order in both. Two programs, since no process loads both libraries.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from worker.training import data


def order_of(spec: str) -> RunOrder:
    """Of a file with a spec."""
    asked = JobSpec.model_validate(json.loads(Path(spec).read_text()))
    return RunOrder(spec=asked.resolved(), paths=Paths(run_dir=""))


def of_keras(spec: str, weights: str) -> None:
    """Write what a job with this spec begins with, each array as torch has it."""
    from worker.tensorflow import library

    library.load()
    from worker.tensorflow import networks

    order = order_of(spec)
    model = networks.begin(order, data.outline(order).classes, "training").model
    np.savez(weights, *(each for layer in model.layers for each in _as_torch_has_it(layer)))


def _as_torch_has_it(layer: Any) -> Iterator[Any]:
    import keras

    axes: Sequence[int] | None = None
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        axes = (2, 3, 0, 1)
    elif isinstance(layer, keras.layers.Conv2D):
        axes = (3, 2, 0, 1)
    for variable in layer.variables:
        value = variable.numpy()
        yield value.T if isinstance(layer, keras.layers.Dense) else value.transpose(axes) if axes else value


def of_torch(spec: str, weights: str, folder: str) -> None:
    """Write timm's network with these weights. Raises `ValueError` when it has others."""
    import torch

    from worker.training import export, models
    from worker.training.card import Scaling

    order = order_of(spec)
    classes = data.outline(order).classes
    model = models.build_model(order, classes)
    arrays = list(np.load(weights).values())
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    for name, array in zip(names, arrays, strict=True):
        known = model.state_dict()[name]
        if tuple(known.shape) != array.shape:
            raise ValueError(f"{name} is {tuple(known.shape)} in timm and {array.shape} in Keras")
        known.copy_(torch.from_numpy(array))
    card = export.card_of(model, order, classes, Scaling(mean=(0.5,) * 3, std=(0.5,) * 3), None)
    export.export(model, card, Path(folder))


if __name__ == "__main__":
    {"keras": of_keras, "torch": of_torch}[sys.argv[1]](*sys.argv[2:])
