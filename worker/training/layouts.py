"""What lies in a data set's folder, however it is laid out there."""

import re
from dataclasses import dataclass, field

from app.contract.datasets import RefusedFile
from app.contract.failures import FailureCode
from worker.training.errors import RunFailure

TRAIN, VALIDATION = "train", "val"


@dataclass(frozen=True)
class Layout:
    """What lies in a data set's folder. Entry i of `names`, `labels` and `in_validation` is one file."""

    folder: str
    """Absolute, without links in it."""
    classes: tuple[str, ...]
    has_validation: bool
    """Whether the set brings a validation part of its own."""
    names: list[str] = field(default_factory=list)
    """Relative to the folder, with slashes."""
    labels: list[int] = field(default_factory=list)
    in_validation: list[bool] = field(default_factory=list)
    refused: list[RefusedFile] = field(default_factory=list)
    listed_in: str = ""
    """The CSV file that names the images and their classes; empty: their folders do."""
    warnings: list[str] = field(default_factory=list)
    """What may not be meant so."""


def natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Sorts numbers inside names by value and before letters, and equal ones by the name itself."""
    pieces = [piece for piece in re.split(r"(\d+)", name) if piece]
    return [(False, int(piece), "") if piece.isdecimal() else (True, 0, piece) for piece in pieces], name


def bad(message: str) -> RunFailure:
    """The data set cannot be used."""
    return RunFailure(FailureCode.BAD_DATASET, message)


def few(names: list[str]) -> str:
    """The first names, for a message."""
    shown = ", ".join(repr(short(name)) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def short(name: str) -> str:
    """A name as it fits into a message beside nine others."""
    return name if len(name) <= 200 else f"{name[:99]}...{name[-98:]}"
