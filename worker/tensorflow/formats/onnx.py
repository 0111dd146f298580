"""ONNX through tf2onnx, with what its user must know in the metadata: the same as in torch's path."""

import json
from pathlib import Path
from typing import Any

import onnx
import tf2onnx

from worker.tensorflow.files import Card
from worker.tensorflow.formats import UnitInput
from worker.training.artifact_files import write as write_file

OPSET = 18


def write(network: Any, card: Card, path: Path) -> None:
    """In one file."""
    module = UnitInput(network, card, channels_first=True)
    signature = module.answer.input_signature
    model, _ = tf2onnx.convert.from_function(module.answer, input_signature=signature, opset=OPSET)
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, _metadata(card))
    model.producer_name = "trainyard"
    write_file(path, model.SerializeToString(), "application/octet-stream")


def _metadata(card: Card) -> dict[str, str]:
    return {
        "classes": json.dumps(card.classes),
        "image_size": json.dumps(card.image_size),
        "channels": json.dumps(card.channels),
        "normalization": card.normalization.model_dump_json(),
        "input": "float32 NCHW in [0, 1], RGB or luminance; normalised inside",
        "job": card.job or "",
        "dataset_sha256": card.dataset_sha256 or "",
    }
