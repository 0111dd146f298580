"""The trained network in the formats of other programs, which need nothing of ours to run it.

`saved_model` and `tflite` read float32 NHWC in [0, 1], `onnx` NCHW as all ONNX files here do; all answer logits,
for any number of images, with the normalisation inside. A format is a file here with `write(network, card, path)`, and
a program `_run_<name>.py` that runs the file alone (ONNX: worker/training/formats/_run_onnx.py).
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from app.contract.export import ExportFormat
from app.contract.failures import FailureCode
from worker.tensorflow.files import Card
from worker.training import causes
from worker.training.errors import RunFailure

INPUT, OUTPUT = "images", "logits"


class UnitInput(tf.Module):  # type: ignore[misc]
    """A network behind its normalisation, in fp32: reads values in [0, 1]."""

    def __init__(self, network: Any, card: Card, *, channels_first: bool = False) -> None:
        super().__init__()
        self.network = network
        height, width = card.image_size
        shape = [None, card.channels, height, width] if channels_first else [None, height, width, card.channels]
        mean_C, std_C = (np.asarray(each, np.float32) for each in (card.scaling.mean, card.scaling.std))

        def answer(images: Any) -> dict[str, Any]:
            images_NHWC = tf.transpose(images, [0, 2, 3, 1]) if channels_first else images
            return {OUTPUT: self.network((images_NHWC - mean_C) / std_C, training=False)}

        self.answer = tf.function(answer, input_signature=[tf.TensorSpec(shape, tf.float32, name=INPUT)])


def write(network: Any, card: Card, name: ExportFormat, path: Path) -> None:
    """Write the network as `name`. Raises `RunFailure`, `export_failed`, where it cannot be expressed."""
    from importlib import import_module

    try:
        import_module(f"{__name__}.{name}").write(network, card, path)
    except Exception as error:
        told = causes.explain(error)
        if told.code is not FailureCode.INTERNAL:
            raise RunFailure(told.code, told.message) from error
        reason = f"{type(error).__name__}: {str(error).strip()}"[:2500]
        message = f"{name} cannot express {card.architecture.name}. {reason}"
        raise RunFailure(FailureCode.EXPORT_FAILED, message) from error
