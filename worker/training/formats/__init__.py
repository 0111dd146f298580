"""The trained network in the formats of other programs, which need nothing of ours to run it.

To add a format: its name and file in app/contract/export.py, a file of its name here with `write(network, card, path)`,
and a program `_run_<name>.py` that runs the file alone, in a process that loads none of our code.

All files read float32 NCHW in [0, 1] and answer logits, for any number of images: normalisation is inside.
"""

import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from app.contract.export import FILES, INT8_FILE, USAGE_FILE, ExportFormat
from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from worker.training import causes
from worker.training.card import ModelCard
from worker.training.errors import RunFailure, bad_spec
from worker.training.formats.operators import culprit

# N = images, C = channels, K = classes

MOST_ONNX_BYTES = 2_000_000_000
"""protobuf has no larger messages; a second file beside the first would no longer be one that users can move."""
FEW_IMAGES = 16
"""Fewer show too little of what a network's activations may be."""


class UnitInput(nn.Module):
    """A network behind its normalisation, in fp32 and evaluation mode: reads values in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network.float().eval()
        for name, values in (("mean", card.normalization.mean), ("std", card.normalization.std)):
            each_C = torch.tensor(values, dtype=torch.float64).float().expand(card.channels)
            self.register_buffer(name, each_C.clone()[None, :, None, None], persistent=True)
        self.eval()

    def forward(self, images_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = self.network((images_NCHW - self.mean) / self.std)
        return logits_NK


def made_files(spec: JobSpec) -> list[str]:
    """The networks that `convert` leaves beside safetensors, in the order in which they are made."""
    return [FILES[each] for each in spec.resolved().export] + ([INT8_FILE] if spec.quantization else [])


def refuse_impossible(spec: JobSpec, weights_bytes: int, train_images: int) -> Iterator[str]:
    """Warnings about what a spec asks for. Raises `bad_spec` for what the network can be seen not to have."""
    asked = spec.resolved().export
    if "onnx" in asked and weights_bytes > MOST_ONNX_BYTES:
        detail = (
            f"The network has {weights_bytes:,} bytes of weights, an ONNX file holds {MOST_ONNX_BYTES:,} at most: "
            "use torch_export, or a smaller network."
        )
        method = [each.kind for each in spec.compression].index("quantization") if spec.quantization else 0
        pointer = f"/export/{spec.export.index('onnx')}" if "onnx" in spec.export else f"/compression/{method}"
        raise bad_spec(pointer, detail, "too_large")
    if spec.quantization and train_images < FEW_IMAGES:
        yield (
            f"The ranges of int8 are found on {train_images} training images: values beyond them are cut off, and so "
            "few may not show what to expect."
        )


def remove(folder: Path) -> None:
    """What an earlier run by hand may have left."""
    for name in (*FILES.values(), INT8_FILE, USAGE_FILE):
        (folder / name).unlink(missing_ok=True)


def write(network: nn.Module, card: ModelCard, name: ExportFormat, path: Path) -> None:
    """Write the network as `name`. Raises `RunFailure`, `export_failed`, which says what it cannot express."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 copies its own deprecated pytree classes
            import_module(f"{__name__}.{name}").write(UnitInput(network, card), card, path)
    except RunFailure:
        raise
    except Exception as error:  # torch, onnxscript and onnx have no type of error in common
        raise failed(name, card, error) from error


def failed(name: str, card: ModelCard, error: BaseException) -> RunFailure:
    """The failure of a format that cannot express a network; of a full disk or too little memory, theirs."""
    told = causes.explain(error)
    if told.code is not FailureCode.INTERNAL:
        return RunFailure(told.code, told.message)
    reason = f"{type(error).__name__}: {str(error).strip()}"
    subject = culprit(error)
    what = f"the operator {subject} of {card.architecture.name}" if subject else card.architecture.name
    return RunFailure(FailureCode.EXPORT_FAILED, f"{name} cannot express {what}. {reason[:2500]}")
