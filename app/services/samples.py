"""The files of a data set, read from the table that its import wrote; see `app.contract.file_table`.

A million files are 200 MB: the table is read from a byte on, never as a whole, and a cursor is such a byte. Work per
request is bounded by `MAX_SCAN_BYTES`: a filter that finds little answers a short page, and its cursor stands where the
scan stopped.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.contract.datasets import Sample, SamplePage
from app.contract.file_table import COLUMNS, FILE, SUMMARY, Part, Status, TableSummary
from app.errors import Conflict, InvalidQuery, InvalidSpec, NotFound
from app.services.job_view import existing
from app.store import datasets
from app.store.cursors import read_cursor, write_cursor
from app.store.session import settings_of

MAX_SCAN_BYTES = 8 * 2**20
MAX_LINE_BYTES = 2**17
"""A record is a few names of at most 4,096 bytes each; one with line breaks in its names is several lines."""
SUMMARY_BYTES = 4096


@dataclass(frozen=True)
class SampleFilter:
    """Which files are wanted; None: of any."""

    label: str | None = None
    part: Part | None = None
    status: Status | None = None

    def wants(self, sample: Sample) -> bool:
        """Whether the file passes."""
        return all(
            wanted is None or found == wanted
            for wanted, found in ((self.label, sample.label), (self.part, sample.part), (self.status, sample.status))
        )


@dataclass(frozen=True)
class FileTable:
    """The table of a checked data set, and what its writer said of it."""

    path: Path
    summary: TableSummary


def table(session: Session, dataset_id: str) -> FileTable:
    """Raises `NotFound`, also for a set that was refused before its files were looked at; `Conflict` while it is
    imported."""
    row = existing(datasets.find(session, dataset_id), "data set")
    if row.state == "importing":
        raise Conflict("The files are being checked: ask again when the state is ready or failed.", state=row.state)
    nothing = NotFound("There is no table of files: the check of the data set ended before it was written.")
    if row.check_number is None:
        raise nothing
    folder = settings_of(session).check_dir(dataset_id, row.check_number)
    try:
        with (folder / SUMMARY).open("rb") as file:
            return FileTable(folder / FILE, TableSummary.model_validate_json(file.read(SUMMARY_BYTES)))
    except (OSError, ValidationError) as error:
        raise nothing from error


def page(found: FileTable, dataset_id: str, wanted: SampleFilter, limit: int, cursor: str | None) -> SamplePage:
    """The next files behind the cursor, at most `limit`. Raises `InvalidQuery` for a cursor of another set."""
    question = f"samples {dataset_id}"
    start = int(read_cursor(question, cursor, (int,))[0]) if cursor is not None else 0
    items: list[Sample] = []
    end = start
    with _opened(found) as file:
        if start:
            _go_to(file, start)
        else:
            next(_records(file))
        for cells, end in _records(file):
            sample = _sample(cells)
            if wanted.wants(sample):
                items.append(sample)
            if len(items) >= limit or end - start >= MAX_SCAN_BYTES:
                break
    is_last = end >= found.summary.size_bytes or not end
    return SamplePage(items=items, next_cursor=None if is_last else write_cursor(question, end))


def _opened(found: FileTable) -> BinaryIO:
    try:
        return found.path.open("rb")
    except OSError as error:
        raise NotFound("The table of files is gone.") from error


def _go_to(file: BinaryIO, place: int) -> None:
    """Raises `InvalidQuery` for a place behind which no record begins."""
    if place > 0:
        file.seek(place - 1)
        if file.read(1) == b"\n":
            return
    raise _bad_cursor()


def _records(file: BinaryIO) -> Iterator[tuple[list[str], int]]:
    """Cells of each record from here on, and the byte behind it. An odd number of quotes: it goes on, on the next line.

    Raises `InvalidQuery` for what is no record: a place inside one looks like that.
    """
    while line := file.readline(MAX_LINE_BYTES):
        while line.count(b'"') % 2 and len(line) < MAX_LINE_BYTES:
            following = file.readline(MAX_LINE_BYTES)
            if not following:
                raise _bad_cursor()
            line += following
        try:
            (cells,) = csv.reader([line.decode()], strict=True)
        except (ValueError, csv.Error) as error:
            raise _bad_cursor() from error
        yield cells, file.tell()


def _sample(cells: list[str]) -> Sample:
    if len(cells) != len(COLUMNS):
        raise _bad_cursor()
    known = {name: cell for name, cell in zip(COLUMNS, cells, strict=True) if cell or name == "path"}
    try:
        return Sample.model_validate(dict.fromkeys(COLUMNS) | known)
    except ValidationError as error:
        raise _bad_cursor() from error


def _bad_cursor() -> InvalidSpec:
    detail = "This is not a cursor of this list. Begin without one, and send back what the answer gives you."
    return InvalidQuery.at("/cursor", "bad_cursor", detail)
