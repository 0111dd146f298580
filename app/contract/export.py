"""In which formats a job leaves its network."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

ExportFormat = Literal["onnx", "torch_export", "saved_model", "tflite"]
"""Beside safetensors with model.json, which are always written."""

FILES: dict[ExportFormat, str] = {
    "onnx": "model.onnx",
    "torch_export": "model.pt2",
    "saved_model": "saved_model.zip",
    "tflite": "model.tflite",
}
INT8_FILE = "model.int8.onnx"
USAGE_FILE = "usage_onnx.py"


def _each_once(formats: Sequence[ExportFormat]) -> Sequence[ExportFormat]:
    if len(set(formats)) < len(formats):
        raise PydanticCustomError("duplicate", "Each format is written once: name it once.")
    return formats


def _asked_for(name: object) -> object:
    """safetensors is a format of the report's `exports`, so that it is asked for by who has read one."""
    if name == "safetensors":
        raise PydanticCustomError("always_written", "safetensors is always written: leave it out.")
    return name


Exports = Annotated[
    tuple[Annotated[ExportFormat, BeforeValidator(_asked_for)], ...],
    AfterValidator(_each_once),
    Field(
        max_length=len(FILES),
        json_schema_extra={"uniqueItems": True},
        description="Formats beside safetensors, which is always written. Each file is run by its own runtime in a "
        "clean process, and must answer as the trained network does, before the job may succeed. Input: float32 NCHW "
        "in [0, 1], any number of images; output: logits. `saved_model` and `tflite` are TensorFlow's and read NHWC, "
        "`torch_export` is torch's.",
    ),
]
