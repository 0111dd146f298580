"""int8 by ONNX Runtime's static quantiser: of the ONNX file, for any CPU.

Pairs of QuantizeLinear and DequantizeLinear surround each convolution and linear layer; ONNX Runtime runs what lies
between two of them in integers. A number x is kept as round(x / scale) + zero: for weights with zero = 0 and a scale
for each output channel, for activations with a scale and a zero for each tensor, of the smallest and the largest value
that it takes over the calibration images (arXiv 1712.05877, section 2.1). Batch normalisation is folded first.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from worker.training.card import ModelCard
from worker.training.compression._layers import matches
from worker.training.formats.onnx import INPUT, LAYERS, save

WEIGHT_LIMIT = 64
"""Weights are within +-64, 7 bits: AVX2 and AVX-512 without VNNI add two products of uint8 and int8 in 16 bits, and
2 x 255 x 64 = 32,640 fits where 2 x 255 x 127 = 64,770 would be cut off. So every CPU gives the same numbers."""
FOLLOWING = ("Relu", "Clip", "Add", "MaxPool", "GlobalAveragePool", "AveragePool", "Flatten")
"""What stands between layers and would otherwise bring every tensor back to fp32 and to int8 again."""

Batch = npt.NDArray[np.float32]


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Images as the file reads them, batch by batch."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches: Iterator[Batch] = iter(batches)

    def get_next(self) -> dict[str, Batch] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def write(source: Path, card: ModelCard, batches: Iterable[Batch], exclude: Sequence[str], path: Path) -> None:
    """Write `source`, an ONNX file of `formats.onnx`, as int8. `batches`: calibration images, float32 NCHW in [0, 1].

    `exclude`: patterns of module names; those layers stay fp32.
    """
    with tempfile.TemporaryDirectory() as folder:
        folded, made = Path(folder, "folded.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        quantize_static(
            str(folded),
            str(made),
            _Calibration(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*LAYERS, *FOLLOWING],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(excluded(onnx.load(folded), exclude)),
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True, "MatMulConstBOnly": True},
        )
        save(onnx.load(made), card, path)


def excluded(model: onnx.ModelProto, patterns: Sequence[str]) -> Iterator[str]:
    """The nodes of the layers that any pattern matches: they are called as the layers are (see `onnx.name_layers`)."""
    for node in model.graph.node:
        layer = node.name.partition("/")[0]  # later calls, and folding an addition into a product, append to its name
        if node.op_type in LAYERS and any(matches(layer, pattern) for pattern in patterns):
            yield node.name
