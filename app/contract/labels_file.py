"""A folder whose images are named and labelled by a CSV file: which file that is, and what its rows say.

Read by workers as a whole, and by the service as far as it needs to see two classes. Comma-separated, RFC 4180, UTF-8
with or without a byte order mark; the first line names the columns, in any order and case: `path` and `label`, and
`part` (or `split`) where the data brings its own validation images. Other columns are left alone.
"""

import csv
import os
import posixpath
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NAME = "labels.csv"
MAX_LINE_BYTES = 65_536
"""A path has at most 4,096 bytes, so a longer line is no line of a list of files."""
MAX_PATH_BYTES = 4096
MAX_LABEL = 255
TRAIN, VALIDATION, TEST = "train", "val", "test"
PARTS = (TRAIN, VALIDATION, TEST)


class Unreadable(Exception):
    """The file as a whole cannot be used; the text, a sentence, names it and says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line after the first. With a `refusal`, the image cannot be used, whatever it is."""

    line: int
    path: str
    """Relative to the folder, without detours; a readable stand-in where the row names none."""
    label: str = ""
    part: str = ""
    """`train`, `val` or `test`; empty when there is no such column."""
    refusal: str = ""


@dataclass(frozen=True)
class Columns:
    """Where in a row the things stand that count."""

    path: int
    label: int
    part: int | None
    others: tuple[str, ...]
    """Names of the columns that are left alone."""

    @property
    def width(self) -> int:
        """Cells that a row must have at least."""
        return max(self.path, self.label, self.part or 0) + 1


def find(folder: Path) -> str | None:
    """The name of the folder's list of images: `labels.csv`, else its only CSV file if that has the columns.

    Raises `Unreadable` for a `labels.csv` that cannot be used. Any other CSV file may be there for its own reasons.
    """
    if os.path.lexists(folder / NAME):
        columns(folder, NAME)
        return NAME
    names = csv_files(folder)
    if len(names) != 1:
        return None
    try:
        columns(folder, names[0])
    except Unreadable:
        return None
    return names[0]


def csv_files(folder: Path) -> list[str]:
    """The CSV files that lie in the folder itself."""
    with os.scandir(folder) as entries:
        return sorted(each.name for each in entries if each.name.lower().endswith(".csv") and each.name[0] != ".")


def columns(folder: Path, name: str) -> Columns:
    """What the first line says. Raises `Unreadable`."""
    with _opened(folder, name) as file:
        return _columns(name, _cells(name, file))


def rows(folder: Path, name: str) -> Iterator[Row]:
    """All rows, in their order; blank lines are passed over. Raises `Unreadable`, also in the midst of it."""
    with _opened(folder, name) as file:
        cells = _cells(name, file)
        found = _columns(name, cells)
        for line, values in cells:
            if values:
                yield _row(name, found, line, values)


def _columns(name: str, cells: Iterator[tuple[int, list[str]]]) -> Columns:
    _, first = next(cells, (1, []))
    names = [each.strip().lower() for each in first]
    parts = [each for each in names if each in ("part", "split")]
    needed = ["path", "label", *parts]
    if any(names.count(each) != 1 for each in needed) or len(parts) > 1:
        shown = ",".join(first)[:100]
        raise Unreadable(
            f"The first line of {name} must name the columns path and label, and part where there is one, "
            f"each once and separated by commas; it is '{shown}'."
        )
    others = tuple(title[:50] for title, known in zip(first, names, strict=True) if known not in needed)
    return Columns(names.index("path"), names.index("label"), names.index(parts[0]) if parts else None, others)


def _row(file: str, found: Columns, line: int, values: list[str]) -> Row:
    if len(values) < found.width:
        return Row(line, f"{file}, line {line}", refusal="has fewer columns than the first line")
    path, label = values[found.path], values[found.label].strip()
    part = values[found.part].strip().lower() if found.part is not None else ""
    refusal = _path_refusal(path) or _label_refusal(label)
    if not refusal and found.part is not None and part not in PARTS:
        refusal = f"is of the part '{part[:50]}': there are train, val and test" if part else "is of no part"
    if refusal:
        return Row(line, path.replace("\0", "\\x00")[:1000] or f"{file}, line {line}", refusal=refusal)
    return Row(line, posixpath.normpath(path), sys.intern(label), sys.intern(part))  # the same for many rows


def _path_refusal(path: str) -> str:
    if not path:
        return "names no file"
    if "\0" in path:
        return "has a NUL character in its path"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"has a path of more than {MAX_PATH_BYTES} bytes"
    if path.startswith("/"):
        return "is an absolute path: paths are relative to the folder"
    plain = posixpath.normpath(path)
    return "leads out of the folder" if plain.split("/")[0] == ".." else "names no file" if plain == "." else ""


def _label_refusal(label: str) -> str:
    if not label:
        return "has no label"
    if "\0" in label:
        return "has a NUL character in its label"
    return f"has a label of more than {MAX_LABEL} characters" if len(label) > MAX_LABEL else ""


def _cells(name: str, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Each record with the number of the line on which it ends."""
    reader = csv.reader(_lines(name, file), strict=True)
    while True:
        try:
            yield reader.line_num + 1, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise Unreadable(f"{name} is not valid CSV near line {reader.line_num}: {error}.") from error


def _lines(name: str, file: BinaryIO) -> Iterator[str]:
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise Unreadable(f"Line {number} of {name} is longer than {MAX_LINE_BYTES} bytes.")
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise Unreadable(f"{name} is not UTF-8, in line {number}: save it in that encoding.") from error


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[BinaryIO]:
    """The file, if it is a regular one that lies in the folder, also after links are followed."""
    root = os.path.realpath(folder)
    real = os.path.realpath(folder / name)
    if not real.startswith(root.rstrip("/") + "/"):
        raise Unreadable(f"{name} is a link that leads out of the folder.")
    try:
        # O_NONBLOCK: to open a FIFO would wait for a writer
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(f"{name} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable(f"{name} is not a regular file.")
        yield file
