"""The trained network as files: `model.safetensors` and `model.json`, which together are enough to build it again."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from app.contract.faults import Point, reach
from app.contract.report import Trained
from app.contract.work import RunOrder
from worker.tensorflow.architecture import Architecture
from worker.training.artifact_files import write
from worker.training.fitting import Normalization
from worker.training.scaling import Scaling, misfit

MODEL, BASELINE = "model", "baseline"
MAX_CARD_BYTES = 16 << 20
HOW_TO_LOAD = "from worker.tensorflow import library, networks; library.load(); network = networks.rebuild(FOLDER)"


class BrokenModel(Exception):
    """A model's files are missing, damaged, or do not belong together; the message says which and how."""


class Card(BaseModel):
    """Everything but the weights that is needed to build a network again and to use it."""

    model_config = ConfigDict(frozen=True)

    format: Literal["trainyard-keras-model"] = "trainyard-keras-model"
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
    libraries: dict[str, str] = {}
    how_to_load: str = HOW_TO_LOAD
    weights_bytes: int = 0
    weights_sha256: str = ""

    @property
    def scaling(self) -> Normalization:
        """What the network expects of pixels."""
        return Normalization(self.normalization.mean, self.normalization.std)


def card_of(
    described: Architecture, order: RunOrder, classes: Sequence[str], scaling: Normalization, dataset_sha256: str
) -> Card:
    """The card of a network that was trained for an order."""
    return Card(
        architecture=described,
        classes=tuple(classes),
        channels=described.channels,
        image_size=described.image_size,
        normalization=Scaling(mean=tuple(scaling.mean), std=tuple(scaling.std)),
        dtype="float64" if order.spec.training.precision == "fp64" else "float32",
        job=order.job,
        dataset_sha256=dataset_sha256,
        libraries={"keras": version("keras")},
    )


def export(weights: Mapping[str, Any], card: Card, folder: Path, stem: str = MODEL) -> None:
    """Write `<stem>.safetensors`, then `<stem>.json`, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    data = content(weights)
    found = {"weights_bytes": len(data), "weights_sha256": hashlib.sha256(data).hexdigest()}
    filled = card.model_copy(update=found)
    write(folder / f"{stem}.safetensors", data, "application/octet-stream")
    reach(Point.WEIGHTS_BEFORE_CARD)
    write(folder / f"{stem}.json", filled.model_dump_json(indent=2).encode(), "application/json")


def content(weights: Mapping[str, Any]) -> bytes:
    """The safetensors file of a network."""
    arrays = {name: np.asarray(value, order="C") for name, value in weights.items()}
    return bytes(safetensors.numpy.save(arrays, metadata={"format": "tf"}))


def read_card(folder: Path, stem: str = MODEL) -> Card:
    """`<stem>.json` in a folder that anyone may have written. Raises `BrokenModel`."""
    path = folder / f"{stem}.json"
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CARD_BYTES)
        card = Card.model_validate_json(text)
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(part) for part in first["loc"])
        raise BrokenModel(f"{path.name} is no card of a Keras network: {first['msg']} at '{where}'.") from error
    if len(card.classes) != card.architecture.outputs:
        raise BrokenModel(f"{path.name} names {len(card.classes)} classes for {card.architecture.outputs} outputs.")
    if why := misfit(card.normalization, card.channels, card.architecture.channels):
        raise BrokenModel(f"{path.name} {why}.")
    return card


def read_weights(folder: Path, card: Card, stem: str = MODEL) -> dict[str, Any]:
    """Checked by size, SHA-256, and for being numbers. Raises `BrokenModel`."""
    path = folder / f"{stem}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(data) != card.weights_bytes or hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise BrokenModel(f"{path.name} is not the file that was exported.")
    try:
        weights: dict[str, Any] = safetensors.numpy.load(data)
    except (SafetensorError, ValueError) as error:
        raise BrokenModel(f"{path.name} is not a safetensors file: {error}.") from error
    if spoilt := [name for name, value in weights.items() if not np.isfinite(value).all()]:
        raise BrokenModel(f"{path.name} holds values that are not finite, in {spoilt[0]}.")
    return weights
