"""What is known of a checked data set, in columns: 200,000 images are some arrays, not a million objects."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from app.contract.datasets import RefusedFile
from worker.training.image_check import Manifest

# N = images

Columns = dict[str, npt.NDArray]


class Unreadable(Exception):
    """A file of columns is not what was written."""


class Names(Sequence[str]):
    """Strings in one piece of memory."""

    def __init__(self, text: npt.NDArray[np.uint8], ends_N: npt.NDArray[np.int64]) -> None:
        self.text = text
        self.ends_N = ends_N

    @classmethod
    def of(cls, names: Sequence[str]) -> "Names":
        """The same strings, packed as UTF-8."""
        coded = [name.encode() for name in names]
        ends_N = np.cumsum(np.fromiter(map(len, coded), np.int64, len(coded)))
        return cls(np.frombuffer(b"".join(coded), np.uint8), ends_N)

    def __len__(self) -> int:
        return len(self.ends_N)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        start = int(self.ends_N[number - 1]) if number else 0
        return self.text[start : int(self.ends_N[number])].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        text, start = self.text.tobytes(), 0
        for end in self.ends_N.tolist():
            yield text[start:end].decode()
            start = end

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # like a list


@dataclass(frozen=True)
class Index:
    """The usable images of a data set in their order, and what was refused."""

    classes: tuple[str, ...]
    has_validation: bool
    names: Names
    labels_N: npt.NDArray[np.int64]
    in_validation_N: npt.NDArray[np.bool_]
    sizes_N2: npt.NDArray[np.int64]
    """(h, w) of each file's image, in pixels, after orientation."""
    contents_N32: npt.NDArray[np.uint8]
    """SHA-256 of each file, to notice that it has changed."""
    refused: list[RefusedFile]
    refused_count: int
    sha256: str

    @classmethod
    def of(cls, manifest: Manifest) -> "Index":
        """The same in columns."""
        return cls(
            manifest.classes,
            manifest.has_validation,
            Names.of(manifest.names),
            np.array(manifest.labels, np.int64),
            np.array(manifest.in_validation, np.bool_),
            np.array(manifest.sizes, np.int64).reshape(-1, 2),
            np.frombuffer(bytes.fromhex("".join(manifest.contents)), np.uint8).reshape(-1, 32),
            manifest.refused,
            manifest.refused_count,
            manifest.sha256,
        )

    def write(self, file: Path, more: Columns | None = None, said: dict[str, str] | None = None) -> None:
        """Into a file, with other columns and texts beside it."""
        columns: Columns = {
            "names": self.names.text,
            "name_ends": self.names.ends_N,
            "labels": self.labels_N.astype(np.int32),
            "in_validation": self.in_validation_N,
            "sizes": self.sizes_N2.astype(np.int32),
            "contents": self.contents_N32,
        }
        facts = {"classes": self.classes, "has_validation": self.has_validation, "sha256": self.sha256}
        refused = {"refused": [each.model_dump() for each in self.refused], "refused_count": self.refused_count}
        save_file(columns | (more or {}), file, {"index": json.dumps(facts | refused)} | (said or {}))


def read(file: Path) -> tuple[Index, Columns, dict[str, str]]:
    """An index, the columns beside it, and the texts. Raises Unreadable, or OSError where there is no file."""
    file.stat()
    try:
        with safe_open(file, framework="numpy") as stored:
            said = dict(stored.metadata() or {})
            columns = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        facts = json.loads(said.pop("index"))
        found = Index(
            tuple(facts["classes"]),
            facts["has_validation"],
            Names(columns.pop("names"), columns.pop("name_ends")),
            columns.pop("labels").astype(np.int64),
            columns.pop("in_validation"),
            columns.pop("sizes").astype(np.int64),
            columns.pop("contents"),
            [RefusedFile.model_validate(each) for each in facts["refused"]],
            facts["refused_count"],
            facts["sha256"],
        )
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{file.name} cannot be read: {error}") from error
    return found, columns, said
