"""The networks of a report: the uncompressed one, then one behind each method of the spec, the trained one last."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.contract.compression import Compression
from app.contract.work import RunOrder
from worker.tensorflow import architecture, files, models, networks
from worker.tensorflow.files import Card
from worker.training.stage_names import stage_names

_GZIP_LEVEL = 6


@dataclass(frozen=True, eq=False)
class Stage:
    """A network, and its safetensors file."""

    name: str
    method: Compression | None
    model: Any
    file_bytes: int
    gzip_bytes: int
    card: Card | None = None
    """Null when it was not trained in this job: then it has no accuracy."""


def stages(order: RunOrder, folder: Path) -> list[Stage]:
    """All of them; `folder` holds the artifacts. Raises `BrokenModel`."""
    model, card = networks.rebuild(folder)
    methods = order.spec.compression
    applied = card.architecture.compression
    before = len(applied) - len(methods)  # what the earlier job's network had, where this one began with it
    found = [_uncompressed(order, folder, card)]
    for number, (method, name) in enumerate(zip(methods, stage_names(methods), strict=True), 1):
        described = card.architecture.model_copy(update={"compression": applied[: before + number]})
        found.append(_stage(name, method, architecture.assemble(described)))
    last = found.pop() if methods else found[0]
    content = (folder / f"{files.MODEL}.safetensors").read_bytes()
    shipped = Stage(last.name if methods else "trained", last.method, model, len(content), _packed(content), card)
    return [*found, shipped]


def _uncompressed(order: RunOrder, folder: Path, card: Card) -> Stage:
    """As it was trained in this job; else as this job began with it."""
    if (folder / f"{files.BASELINE}.safetensors").exists():
        model, own_card = networks.rebuild(folder, files.BASELINE)
        return _stage("uncompressed", None, model, own_card)
    model, _ = models.build_model(order, card.classes)
    return _stage("uncompressed", None, model)


def _stage(name: str, method: Compression | None, model: Any, card: Card | None = None) -> Stage:
    content = files.content(architecture.weights_of(model))
    return Stage(name, method, model, len(content), _packed(content), card)


def _packed(content: bytes) -> int:
    return len(gzip.compress(content, _GZIP_LEVEL))
