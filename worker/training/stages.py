"""The networks of a report: the uncompressed one, then one behind each method of the spec, the trained one last.

An earlier job's, where the spec's `baseline` names one, comes before all of them.
Where the spec names no method the last one is called `trained`. The int8 file is no network, and not among them.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import safetensors.torch
from torch import nn

from app.contract.compression import IN_LOOP, Compression
from app.contract.models import Checkpoint
from app.contract.training import JobBaseline
from app.contract.work import RunOrder
from worker.training import architecture, earlier, models
from worker.training.architecture import Applied
from worker.training.card import BASELINE, DTYPES, MODEL, ModelCard, read_card
from worker.training.export import rebuild, tensors_of
from worker.training.stage_names import stage_names

FIRST = ("baseline", "uncompressed")
"""Names of stages behind no method."""

_GZIP_LEVEL = 6  # what the program takes when it is not told
_PIECE = 1 << 20


@dataclass(frozen=True)
class Size:
    """Of a file, and of the same behind gzip."""

    file_bytes: int
    gzip_bytes: int


@dataclass(frozen=True, eq=False)
class Stage:
    """A network on the CPU, in the precision that it was trained in, in evaluation mode."""

    name: str
    method: Compression | None
    model: nn.Module
    size: Size
    card: ModelCard | None = None
    """Null when it was not trained in this job: then it has no accuracy."""
    steps: int | None = None
    """How many steps of compression made it, where it was made from what was trained here: then no figure but accuracy
    tells it from another of as many."""

    def is_like(self, other: "Stage") -> bool:
        """Whether they differ in nothing but their weights."""
        return self.model is other.model or (self.steps is not None and self.steps == other.steps)


def stages(order: RunOrder, folder: Path) -> list[Stage]:
    """All of them; `folder` holds the artifacts. A method of the loop leaves the network of the stage before.

    Raises `BrokenModel`.
    """
    model, card = rebuild(folder)
    size = size_of(folder / f"{MODEL}.safetensors")
    found = [uncompressed(order, folder, card, None if card.architecture.compression else size)]
    methods = [each for each in order.spec.compression if each != order.spec.quantization]
    names = stage_names(methods)
    made = _steps_before(order)
    counts = _steps_of(methods, card.architecture.compression[made:])
    for method, name, count in list(zip(methods, names, counts, strict=True))[:-1]:
        made += count
        found.append(_behind(card, made, name, method) if count else _same(found[-1], name, method))
    name, last = (names[-1], methods[-1]) if methods else ("trained", None)
    shipped = Stage(name, last, model, size, card, _steps(card))
    compared = [before(order, folder, card)] if isinstance(order.spec.baseline, JobBaseline) else []
    return [*compared, *found, shipped]


def before(order: RunOrder, folder: Path, card: ModelCard) -> Stage:
    """What the spec's `baseline` names: an earlier job's network, or the uncompressed one."""
    if not isinstance(order.spec.baseline, JobBaseline):
        return uncompressed(order, folder, card)
    path = earlier.folder(order)
    model, own_card = rebuild(path)
    return replace(_first(model, card, size_of(path / f"{MODEL}.safetensors"), own_card), name="baseline")


def uncompressed(order: RunOrder, folder: Path, card: ModelCard, size: Size | None = None) -> Stage:
    """As it was trained in this job; else as this job began with it: an earlier job's network, or initial weights.

    Only the first has an accuracy: `baseline: none` promises that there is none before. `size` is that of the trained
    network's file where it has the same layers: that of initial weights is not counted then.
    """
    if (folder / f"{BASELINE}.safetensors").exists():
        model, own_card = rebuild(folder, BASELINE)
        return _first(model, card, size_of(folder / f"{BASELINE}.safetensors"), own_card, _steps(own_card))
    if isinstance(order.spec.model, Checkpoint) and order.paths.model:
        path = Path(order.paths.model)
        model, earlier_card = rebuild(path)
        return _first(model, card, size_of(path / f"{MODEL}.safetensors"), steps=_steps(earlier_card))
    model = models.build_model(order, card.classes).to(DTYPES[card.dtype]).eval()
    return _first(model, card, size or serialised_size(model), steps=0)


def size_of(path: Path) -> Size:
    """Of a file, without holding it in memory."""
    with path.open("rb") as file:
        return _sizes(iter(lambda: file.read(_PIECE), b""))


def serialised_size(model: nn.Module) -> Size:
    """Of the safetensors file that a network would have."""
    content = memoryview(safetensors.torch.save(tensors_of(model), metadata={"format": "pt"}))
    return _sizes(content[start : start + _PIECE] for start in range(0, len(content), _PIECE))


def _sizes(pieces: Iterable[bytes | memoryview]) -> Size:
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=31)
    plain = packed = 0
    for piece in pieces:
        plain += len(piece)
        packed += len(packer.compress(piece))
    return Size(plain, packed + len(packer.flush()))


def _first(
    model: nn.Module, card: ModelCard, size: Size, own_card: ModelCard | None = None, steps: int | None = None
) -> Stage:
    return Stage("uncompressed", None, model.to(DTYPES[card.dtype]), size, own_card, steps)


def _steps(card: ModelCard) -> int:
    return len(card.architecture.compression)


def _behind(card: ModelCard, steps: int, name: str, method: Compression) -> Stage:
    """The trained network as it was after its first `steps`, built again: with weights that no figure depends on."""
    described = card.architecture.model_copy(update={"compression": card.architecture.compression[:steps]})
    model = architecture.assemble(described).to(DTYPES[card.dtype]).eval()
    return Stage(name, method, model, serialised_size(model), steps=steps)


def _same(before: Stage, name: str, method: Compression) -> Stage:
    return replace(before, name=name, method=method, card=None)


def _steps_before(order: RunOrder) -> int:
    """What earlier jobs had made of the network that this one began with."""
    if isinstance(order.spec.model, Checkpoint) and order.paths.model:
        return _steps(read_card(Path(order.paths.model)))
    return 0


def _steps_of(methods: Sequence[Compression], steps: Sequence[Applied]) -> list[int]:
    """How many of the network's steps each method made: none in the loop, one, or several during training."""
    left = [(method, len(list(group))) for method, group in groupby(steps, key=lambda step: step.method)]
    counts: list[int] = []
    for _, group in groupby(each for each in methods if not isinstance(each, IN_LOOP)):
        times, (_, made) = len(list(group)), left.pop(0)
        counts += [1] * (times - 1) + [made - times + 1]
    return [0 if isinstance(each, IN_LOOP) else counts.pop(0) for each in methods]
