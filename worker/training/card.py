"""`model.json`: everything but the weights that is needed to build a network again, and how both are read.

Never a pickle: loading a model file must not run what its author wrote.
"""

import hashlib
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from app.contract.report import Trained
from worker.training.architecture import Architecture
from worker.training.libraries import timm
from worker.training.scaling import Scaling, misfit

MODEL = "model"
BASELINE = "baseline"
MAX_CARD_BYTES = 16 << 20
PROBE_OUTPUTS = 16
DTYPES = {"float32": torch.float32, "float64": torch.float64}
HOW_TO_LOAD = "from worker.training.export import rebuild; model, card = rebuild(FOLDER)"


class BrokenModel(Exception):
    """A model's files are missing, damaged, or do not belong together; the message says which and how."""


class Weights(BaseModel):
    """The file beside the card."""

    model_config = ConfigDict(frozen=True)

    size_bytes: int
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Probe(BaseModel):
    """What the network answered when it was written, to see whether a rebuilt one answers the same.

    Input: one image whose value number i, in the order channel, row, column, is sin(i); no scaling, evaluation mode.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    outputs: tuple[float, ...] = Field(description=f"The first logits, at most {PROBE_OUTPUTS}.")


class ModelCard(BaseModel):
    """Everything but the weights that is needed to build a network again and to use it."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    format: Literal["trainyard-model"] = "trainyard-model"
    version: Literal[1] = 1
    architecture: Architecture
    classes: tuple[str, ...] = Field(description="Class names, in the order of the outputs.")
    channels: int = Field(description="1 reads luminance, 3 reads RGB.")
    image_size: tuple[int, int] = Field(description="[height, width] of the images it was trained on.")
    normalization: Scaling
    dtype: Literal["float32", "float64"] = "float32"
    job: str | None = None
    dataset_sha256: str | None = None
    trained: Trained | None = Field(None, description="How it came to its weights.")
    libraries: dict[str, str] = Field(default_factory=lambda: {"timm": timm.__version__, "torch": torch.__version__})
    how_to_load: str = HOW_TO_LOAD
    weights: Weights | None = Field(None, description="Filled in by `export`.")
    probe: Probe | None = Field(None, description="Filled in by `export`.")


def read_card(folder: Path, stem: str = MODEL) -> ModelCard:
    """`<stem>.json` in a folder that anyone may have written. Raises `BrokenModel`."""
    path = folder / f"{stem}.json"
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(text) > MAX_CARD_BYTES:
        raise BrokenModel(f"{path.name} has more than {MAX_CARD_BYTES} bytes, so it is not a model card.")
    try:
        card = ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(part) for part in first["loc"])
        raise BrokenModel(f"{path.name} is not a model card of version 1: {first['msg']} at '{where}'.") from error
    if len(card.classes) != card.architecture.outputs:
        raise BrokenModel(f"{path.name} names {len(card.classes)} classes for {card.architecture.outputs} outputs.")
    if why := misfit(card.normalization, card.channels, card.architecture.channels):
        raise BrokenModel(f"{path.name} {why}.")
    return card


def load_weights(model: nn.Module, card: ModelCard, folder: Path, stem: str = MODEL) -> None:
    """Fill `model`, built as the card says, from `<stem>.safetensors`. Raises `BrokenModel`, and then changed nothing.

    Checked: size and SHA-256 against the card, names and shapes against the network, and that all values are finite.
    """
    path = folder / f"{stem}.safetensors"
    _check_file(path, card)
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BrokenModel(f"{path.name} is not a safetensors file: {error}.") from error
    _check_tensors(tensors, model.state_dict(), path.name)
    model.load_state_dict(tensors)


def _check_file(path: Path, card: ModelCard) -> None:
    if card.weights is None:
        raise BrokenModel("The model card does not say which weights belong to it.")
    try:
        size = path.stat().st_size
        if size != card.weights.size_bytes:
            raise BrokenModel(
                f"{path.name} has {size} bytes instead of {card.weights.size_bytes}: it is cut or changed."
            )
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {error.strerror}.") from error
    if sha256 != card.weights.sha256:
        raise BrokenModel(f"{path.name} is not the file that was exported: its SHA-256 is {sha256}.")


def _check_tensors(found: dict[str, Tensor], wanted: dict[str, Tensor], file: str) -> None:
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or extra:
        raise BrokenModel(f"{file} is of another network: it lacks {missing[:3]} and has {extra[:3]} too many.")
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
            raise BrokenModel(f"{file} is of another network: {name} has the shape {shapes}.")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BrokenModel(f"{file} holds values that are not finite, in {name}.")
