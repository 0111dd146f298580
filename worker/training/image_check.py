"""Every file of a folder is read, hashed and decoded once, in threads; the result serves every rank of the attempt."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from app.contract.views import DatasetFacts, ImageSizes, RefusedFile
from worker.training import image_files
from worker.training.image_folder import Layout, bad, survey

_THREADS = 4  # at most: each may hold a decoded image of 300 MB
_NAMED = 1_000  # refused files that are kept by name,
_NAMED_BYTES = 100_000  # in so many bytes of names and reasons: the service reads bodies of 1 MiB


class Manifest(BaseModel):
    """The usable files of a folder, column by column, in their order."""

    folder: str
    classes: tuple[str, ...]
    has_validation: bool
    names: list[str]
    labels: list[int]
    in_validation: list[bool]
    sizes: list[tuple[int, int]]
    """(h, w) in pixels, after orientation."""
    refused: list[RefusedFile]
    refused_count: int
    size_bytes: int
    sha256: str
    """Of a line `<sha256 of the content> <name>` for each usable file, sorted by name."""


class _Seen(NamedTuple):
    size: tuple[int, int]
    size_bytes: int
    sha256: str


def check(folder: str, bad_image_share: float) -> Manifest:
    """Look at every file. Raises RunFailure(BAD_DATASET) when the set as a whole cannot be trained on."""
    layout = survey(folder)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        seen = list(pool.map(lambda name: _look(layout.folder, name), layout.names))
    manifest = _manifest(layout, seen)
    _judge(manifest, bad_image_share)
    return manifest


def facts(manifest: Manifest) -> DatasetFacts:
    """What a person is told about the data set."""
    heights, widths = zip(*manifest.sizes, strict=True)
    counts = [0] * len(manifest.classes)
    for label in manifest.labels:
        counts[label] += 1
    return DatasetFacts(
        sha256=manifest.sha256,
        classes=dict(zip(manifest.classes, counts, strict=True)),
        images=len(manifest.names),
        validation_images=sum(manifest.in_validation),
        size_bytes=manifest.size_bytes,
        image_sizes=ImageSizes(
            min_height=min(heights), max_height=max(heights), min_width=min(widths), max_width=max(widths)
        ),
        refused=manifest.refused,
        refused_count=manifest.refused_count,
    )


def remembered(folder: str, bad_image_share: float, run_dir: Path) -> Manifest:
    """The same as `check`, done once in an attempt: the first to ask leaves it in `data.json` for the others."""
    file = run_dir / "data.json"
    if file.exists():
        manifest = Manifest.model_validate_json(file.read_bytes())
        if manifest.folder == os.path.realpath(folder):
            return manifest
    manifest = check(folder, bad_image_share)
    run_dir.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"data.{os.getpid()}.part")
    part.write_text(manifest.model_dump_json(), "utf-8")
    part.replace(file)  # whole or not at all: ranks may ask at the same time
    return manifest


def _look(folder: str, name: str) -> _Seen | str:
    """What a file is, or why it is refused."""
    try:
        content = image_files.read(folder, name)
        image_files.verify(content)
        height, width, _ = image_files.decode(content, 3).shape
    except image_files.Unusable as error:
        return str(error)
    return _Seen((height, width), len(content), hashlib.sha256(content).hexdigest())


def _manifest(layout: Layout, seen: Sequence[_Seen | str]) -> Manifest:
    usable = [(index, look) for index, look in enumerate(seen) if isinstance(look, _Seen)]
    unusable = [(name, look) for name, look in zip(layout.names, seen, strict=True) if isinstance(look, str)]
    refused = [*layout.refused, *(RefusedFile(name=name, reason=reason) for name, reason in unusable)]
    lines = sorted((layout.names[index], look.sha256) for index, look in usable)
    return Manifest(
        folder=layout.folder,
        classes=layout.classes,
        has_validation=layout.has_validation,
        names=[layout.names[index] for index, _ in usable],
        labels=[layout.labels[index] for index, _ in usable],
        in_validation=[layout.in_validation[index] for index, _ in usable],
        sizes=[look.size for _, look in usable],
        refused=_few_enough(refused),
        refused_count=len(refused),
        size_bytes=sum(look.size_bytes for _, look in usable),
        sha256=hashlib.sha256("".join(f"{digest} {name}\n" for name, digest in lines).encode()).hexdigest(),
    )


def _few_enough(refused: Sequence[RefusedFile]) -> list[RefusedFile]:
    """The first of the refused files, as many as a report can carry."""
    ends = accumulate(len(each.model_dump_json()) for each in refused[:_NAMED])
    return [each for each, end in zip(refused, ends, strict=False) if end <= _NAMED_BYTES]


def _judge(manifest: Manifest, bad_image_share: float) -> None:
    files = len(manifest.names) + manifest.refused_count
    if not files:
        raise bad("The class folders hold no files at all.")
    if manifest.refused_count > bad_image_share * files:
        first = "; ".join(f"{_short(refused.name)} {refused.reason}" for refused in manifest.refused[:10])
        allowed = f"at most {bad_image_share:.3g} of all may be"
        raise bad(f"{manifest.refused_count} of {files} files cannot be used ({allowed}). The first: {first}.")
    filled = set(zip(manifest.labels, manifest.in_validation, strict=True))
    for is_validation in (False, True) if manifest.has_validation else (False,):
        empty = [name for label, name in enumerate(manifest.classes) if (label, is_validation) not in filled]
        if empty:
            part = (" in val/" if is_validation else " in train/") if manifest.has_validation else ""
            raise bad(f"No usable image{part} of class {', '.join(repr(name) for name in empty[:10])}.")


def _short(name: str) -> str:
    """A name as it fits into a message beside nine others."""
    return name if len(name) <= 200 else f"{name[:99]}...{name[-98:]}"
