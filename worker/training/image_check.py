"""Every file of a folder is read, hashed and decoded once, in threads."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

from pydantic import BaseModel

from app.contract.views import DatasetFacts, ImageSizes, RefusedFile
from worker.training import image_files
from worker.training.image_folder import Layout, bad, survey

_THREADS = 4  # at most: each may hold a decoded image of 300 MB
_CHUNK = 32  # files that one thread takes at a time
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


class Decoder:
    """What a check does with each file that is whole. Called from several threads."""

    def begin(self, files: int) -> None:
        """So many files will be looked at."""

    def size(self, name: str, content: bytes) -> tuple[int, int]:
        """Decode it: (h, w) in pixels, after orientation. Raises Unusable."""
        height, width, _ = image_files.decode(content, 3).shape
        return height, width

    def done(self, files: int) -> None:
        """So many more files were looked at."""


def check(folder: str, bad_image_share: float, decoder: Decoder | None = None) -> Manifest:
    """Look at every file. Raises RunFailure(BAD_DATASET) when the set as a whole cannot be trained on."""
    layout = survey(folder)
    manifest = _manifest(layout, _seen(layout, decoder or Decoder()))
    judge(manifest.refused, manifest.refused_count, len(manifest.names), bad_image_share)
    _refuse_empty_classes(manifest)
    return manifest


def _seen(layout: Layout, decoder: Decoder) -> "list[_Seen | str]":
    decoder.begin(len(layout.names))

    def look(names: Iterable[str]) -> list[_Seen | str]:
        found = [_look(layout.folder, name, decoder) for name in names]
        decoder.done(len(found))
        return found

    chunks = [layout.names[start : start + _CHUNK] for start in range(0, len(layout.names), _CHUNK)]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        return [each for found in pool.map(look, chunks) for each in found]


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


def _look(folder: str, name: str, decoder: Decoder) -> _Seen | str:
    """What a file is, or why it is refused."""
    try:
        content = image_files.read(folder, name)
        image_files.verify(content)
        size = decoder.size(name, content)
    except image_files.Unusable as error:
        return str(error)
    return _Seen(size, len(content), hashlib.sha256(content).hexdigest())


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


def judge(refused: Sequence[RefusedFile], refused_count: int, usable_count: int, bad_image_share: float) -> None:
    """Raises RunFailure(BAD_DATASET) when too many files were refused."""
    files = usable_count + refused_count
    if not files:
        raise bad("The class folders hold no files at all.")
    if refused_count > bad_image_share * files:
        first = "; ".join(f"{_short(each.name)} {each.reason}" for each in refused[:10])
        allowed = f"at most {bad_image_share:.3g} of all may be"
        raise bad(f"{refused_count} of {files} files cannot be used ({allowed}). The first: {first}.")


def _refuse_empty_classes(manifest: Manifest) -> None:
    filled = set(zip(manifest.labels, manifest.in_validation, strict=True))
    for is_validation in (False, True) if manifest.has_validation else (False,):
        empty = [name for label, name in enumerate(manifest.classes) if (label, is_validation) not in filled]
        if empty:
            part = (" in val/" if is_validation else " in train/") if manifest.has_validation else ""
            raise bad(f"No usable image{part} of class {', '.join(repr(name) for name in empty[:10])}.")


def _short(name: str) -> str:
    """A name as it fits into a message beside nine others."""
    return name if len(name) <= 200 else f"{name[:99]}...{name[-98:]}"
