"""Where images come from. To add a source: a class in app/contract/data.py, and a file here named after its `kind`
with `build(spec, order) -> Source`.

A source lists what it has, with its labels, and opens it. It raises RunFailure: `bad_dataset`, or `bad_spec` when the
source is not on this machine. Whether it brings a validation part or one is held out, and whether what is left can be
trained on, is decided here, once for all sources.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, overload

import numpy as np
import numpy.typing as npt

from app.contract.datasets import RefusedFile
from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from app.contract.models import Checkpoint
from app.contract.work import RunOrder
from worker.training.errors import RunFailure, bad_spec
from worker.training.images import Images
from worker.training.notes import Tell, silent
from worker.training.plugins import build
from worker.training.splitting import Indices, stratified

# N = all images of the source


@dataclass(frozen=True)
class Listing:
    """The images of a source by name, in a fixed order."""

    classes: tuple[str, ...]
    names: Sequence[str]
    labels_N: npt.NDArray[np.int64]
    validation_N: npt.NDArray[np.bool_] | None
    """Which ones are the source's own validation part; null: it has none."""


@dataclass(frozen=True)
class Opened:
    """A source that has been checked, image by image."""

    listing: Listing
    images: Images
    sha256: str
    refused: list[RefusedFile] = field(default_factory=list)
    refused_count: int = 0
    reductions: str = ""
    """Which images are smaller than their files have them (stored_size.digest); empty: none."""


class Source(Protocol):
    """What a kind builds."""

    def list(self) -> Listing:
        """Within a second or so, without decoding a file. What will be refused still counts."""

    def open(self, channels: int, tell: Tell, *, keep: bool) -> Opened:
        """Ready to be read, as 1 (luminance) or 3 (RGB) channels. May take as long as decoding everything once, and
        tells how far it is. `keep`: whether to leave what was decoded for other jobs."""


class Chosen(Sequence[str]):
    """Some of the names, looked up when they are asked for: a list of a million would weigh on every rank."""

    def __init__(self, names: Sequence[str], indices: Indices) -> None:
        self._names = names
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._names[each] for each in self._indices[index].tolist()]
        return self._names[int(self._indices[index])]


@dataclass(frozen=True)
class LoadedData:
    """The data of a job, split. Everything is in a fixed order."""

    classes: tuple[str, ...]
    train: Images
    validation: Images
    refused: list[RefusedFile]
    """At most 1,000; `refused_count` counts all."""
    refused_count: int
    sha256: str
    """Of names and contents of all usable images."""
    reductions: str = ""
    """Which images are smaller than their files have them (stored_size.digest); empty: none."""
    train_names: Sequence[str] = ()
    """Of the training images: their files, or numbers."""
    is_split: bool = False
    """Whether the validation images were held out here, for lack of a part of the data's own."""


@dataclass(frozen=True)
class Outline:
    """What can be said without reading images; files that will be refused still count."""

    classes: tuple[str, ...]
    train_images: int
    validation_images: int
    is_split: bool = False
    """See LoadedData."""


def load(order: RunOrder, tell: Tell = silent, *, keep: bool = True) -> LoadedData:
    """The images of a job. Raises RunFailure: `bad_dataset`, or `bad_spec` when the source is not on this machine.

    `keep`: whether what has to be decoded is kept on the worker for other jobs; what is kept already is read anyway.
    """
    source: Source = build("data", order.spec.dataset, order)
    opened = source.open(channels(order), tell, keep=keep)
    train, validation = _split(opened.listing, order.spec)
    return LoadedData(
        opened.listing.classes,
        opened.images.subset(train),
        opened.images.subset(validation),
        opened.refused,
        opened.refused_count,
        opened.sha256,
        opened.reductions,
        Chosen(opened.listing.names, train),
        opened.listing.validation_N is None,
    )


def prepare(order: RunOrder, tell: Tell) -> None:
    """Check and decode what is not kept from before, so that each rank's `load` is quick. Raises as it does."""
    source: Source = build("data", order.spec.dataset, order)
    source.open(channels(order), tell, keep=True)


def outline(order: RunOrder) -> Outline:
    """The classes and counts of a job's images, within a second or so. Raises what `load` raises, as far as it sees."""
    source: Source = build("data", order.spec.dataset, order)
    listing = source.list()
    train, validation = _split(listing, order.spec)
    return Outline(listing.classes, len(train), len(validation), listing.validation_N is None)


def channels(order: RunOrder) -> int:
    """What the network reads: as the spec says, or as the network it starts from was built."""
    if not isinstance(order.spec.model, Checkpoint):
        return order.spec.model.channels
    if order.paths.model is None:
        raise RunFailure(FailureCode.INTERNAL, "A run that starts from a checkpoint needs paths.model.")
    try:
        return int(json.loads(Path(order.paths.model, "model.json").read_text("utf-8"))["channels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise bad_spec("/model/job", f"The earlier job's model.json cannot be read: {error}") from error


def _split(listing: Listing, spec: JobSpec) -> tuple[Indices, Indices]:
    if listing.validation_N is None:
        fraction = spec.dataset.validation_fraction
        train, validation = stratified(listing.labels_N, listing.names, fraction, spec.training.seed)
    else:
        train, validation = np.flatnonzero(~listing.validation_N), np.flatnonzero(listing.validation_N)
    if len(train) < 2 or not len(validation):
        message = f"{len(train)} training and {len(validation)} validation images are too few: 2 and 1 are the least."
        raise RunFailure(FailureCode.BAD_DATASET, message)
    return train, validation
