"""ONNX in one file, with what its user must know in the metadata. Imports onnx and onnxscript: few processes do."""

import ast
import json
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx
import torch

from app.contract.failures import FailureCode
from worker.training.card import ModelCard
from worker.training.errors import RunFailure
from worker.training.export import write as write_file
from worker.training.formats import MOST_ONNX_BYTES, UnitInput
from worker.training.formats.torch_export import program

INPUT, OUTPUT = "images", "logits"
OPSET = 18
"""The oldest that torch's exporter writes without a conversion: the more programs read it."""
LAYERS = ("Conv", "Gemm", "MatMul")
"""What convolutions and linear layers become."""
_NETWORK, _WEIGHT, _SCOPES = "network.", ".weight", "pkg.torch.onnx.name_scopes"


def write(network: UnitInput, card: ModelCard, path: Path) -> None:
    """See `formats.write`."""
    made: Any = torch.onnx.export(
        program(network, card),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        verbose=False,
    )
    model: onnx.ModelProto = made.model_proto
    name_layers(model)
    tidy(model)
    save(model, card, path)


def name_layers(model: onnx.ModelProto) -> None:
    """Call each node with weights as the network calls the layer, its second call `LAYER/2`. Others, as attention's
    products, keep their names.
    """
    constants = {each.name for each in model.graph.initializer}
    calls: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in LAYERS and any(name in constants for name in node.input[:2]):
            layer = _layer(node)
            if layer:
                calls[layer] += 1
                node.name = layer if calls[layer] == 1 else f"{layer}/{calls[layer]}"


def tidy(model: onnx.ModelProto) -> None:
    """Take out what tells of the worker instead of the network (stack traces with paths), and name the batch.

    Shapes between the layers go too: ONNX Runtime's quantiser does not accept the exporter's, and finds its own.
    """
    graph = model.graph
    del graph.value_info[:], graph.metadata_props[:], model.functions[:]
    for each in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del each.metadata_props[:]
        each.doc_string = ""
    for end in (*graph.input, *graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"


def save(model: onnx.ModelProto, card: ModelCard, path: Path) -> None:
    """Write a model with the metadata of its card. Raises `RunFailure` when it is too large for one file."""
    if (size := model.ByteSize()) > MOST_ONNX_BYTES:
        message = f"onnx cannot hold {size:,} bytes in one file, {MOST_ONNX_BYTES:,} is the most: use torch_export."
        raise RunFailure(FailureCode.EXPORT_FAILED, message)
    onnx.helper.set_model_props(model, metadata(card))
    model.producer_name, model.producer_version = "trainyard", _own_version()
    write_file(path, model.SerializeToString(), "application/octet-stream")


def _layer(node: onnx.NodeProto) -> str:
    """By its weights, since a folded normalisation gives its own name to the node; else by where it was called."""
    for name in node.input[1:2]:
        if name.startswith(_NETWORK) and name.endswith(_WEIGHT):
            return name[len(_NETWORK) : -len(_WEIGHT)]
    called = {each.key: each.value for each in node.metadata_props}.get(_SCOPES, "[]")
    scopes = [each for each in ast.literal_eval(called) if each.startswith(_NETWORK)]
    return str(scopes[-1])[len(_NETWORK) :] if scopes else ""


def metadata(card: ModelCard) -> dict[str, str]:
    """What ONNX Runtime gives as `session.get_modelmeta().custom_metadata_map`: all but names are JSON."""
    return {
        "classes": json.dumps(card.classes),
        "image_size": json.dumps(card.image_size),
        "channels": json.dumps(card.channels),
        "normalization": card.normalization.model_dump_json(),
        "input": "float32 NCHW in [0, 1], RGB or luminance; normalised inside",
        "job": card.job or "",
        "dataset_sha256": card.dataset_sha256 or "",
        "trainyard_version": _own_version(),
    }


def _own_version() -> str:
    try:
        return version("trainyard")
    except PackageNotFoundError:  # run from a folder of sources
        return ""
