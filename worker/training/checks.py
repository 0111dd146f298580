"""Whether the files of a job answer as the network that was trained: held against its own answers."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from app.contract.export import FILES, INT8_FILE
from app.contract.report import ExportCheck
from worker.training import reference
from worker.training.card import MODEL, ModelCard
from worker.training.measuring_files import logits_file
from worker.training.normalization import Normalization
from worker.training.notes import Tell
from worker.training.reference import Logits, Reference

FEW_ALIKE = 0.9
"""Of the classes that an int8 file tells: below, a note says so. Whether its accuracy is enough is for gates to say."""

FORMATS = {FILES["onnx"]: "onnx", FILES["torch_export"]: "torch_export", INT8_FILE: "onnx_int8"}


def checked(run_dir: Path, folder: Path, model: nn.Module, card: ModelCard, tell: Tell) -> list[ExportCheck]:
    """Every file in `folder`, the safetensors one rebuilt as `model`. Raises `export_failed`."""
    wanted = reference.read(run_dir)
    scaling = Normalization(card.normalization.mean, card.normalization.std)
    own = reference.answers(model, scaling, torch.from_numpy(wanted.images_NHWC))
    found = [_check(wanted, own, "safetensors", folder / f"{MODEL}.safetensors")]
    for file, name in FORMATS.items():
        if (folder / file).exists():
            logits_NK = np.load(logits_file(run_dir, file), allow_pickle=False)
            found.append(_check(wanted, logits_NK, name, folder / file))
    _tell_few_alike(found, tell)
    return found


def _check(wanted: Reference, logits_NK: Logits, name: str, path: Path) -> ExportCheck:
    far = reference.distance(wanted, logits_NK, path.name)
    if name != "onnx_int8":  # that it differs is what it is for
        reference.refuse_other(wanted, far, path.name)
    return ExportCheck(
        format=name,  # type: ignore[arg-type]
        file=path.name,
        size_bytes=path.stat().st_size,
        max_abs_difference=far.max_abs_difference,
        top1_agreement=far.top1_agreement,
        images=far.images,
        runtime=_runtime(name),
    )


def _runtime(name: str) -> str:
    library = "onnxruntime" if name.startswith("onnx") else "torch"
    return f"{library} {version(library)}"


def _tell_few_alike(found: list[ExportCheck], tell: Tell) -> None:
    for check in found:
        if check.format == "onnx_int8" and check.top1_agreement < FEW_ALIKE:
            message = (
                f"{check.file} tells only {check.top1_agreement:.0%} of {check.images} validation images as the "
                "trained network does: exclude the layers that suffer, or train with mode qat."
            )
            tell("warning", "int8_differs", message)
