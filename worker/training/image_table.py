"""`files.csv`: every file of a checked data set, one record each. See app/contract/file_table.py for what it means."""

import csv
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from app.contract.file_table import COLUMNS, FILE, SUMMARY, TableSummary
from worker.training.image_findings import Findings
from worker.training.image_inspection import Look
from worker.training.layouts import TRAIN, VALIDATION, Layout

PATH, PART, LABEL, STATUS = (COLUMNS.index(name) for name in ("path", "part", "label", "status"))
SHA256 = COLUMNS.index("sha256")


def write(folder: Path, layout: Layout, looks: Sequence[Look], findings: Findings) -> TableSummary:
    """Write the table and then, when it is durable, its summary. `findings` count the usable files alone."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        records = 0
        for record in _records(layout, looks, findings):
            writer.writerow(record)
            records += 1
        _sync(file)
    with part.open("rb") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    summary = TableSummary(records=records, size_bytes=part.stat().st_size, sha256=sha256)
    part.replace(folder / FILE)
    _write_summary(folder, summary)
    return summary


def used(file: Path) -> Iterator[tuple[str, str, str, str]]:
    """Path, label, part and SHA-256 of every file that is used, as a table tells them. Raises OSError, ValueError."""
    with file.open(encoding="utf-8", newline="") as stream:
        records = csv.reader(stream)
        if tuple(next(records, ())) != COLUMNS:
            raise ValueError(f"{file.name} is not a table of files.")
        for record in records:
            if record[STATUS] == "used":
                yield record[PATH], record[LABEL], record[PART], record[SHA256]


def _records(layout: Layout, looks: Sequence[Look], findings: Findings) -> Iterator[list[Any]]:
    usable = [index for index, look in enumerate(looks) if not isinstance(look, str)]
    number = -1
    for index, look in enumerate(looks):
        part = (VALIDATION if layout.in_validation[index] else TRAIN) if layout.has_validation else ""
        place = [layout.names[index], layout.classes[layout.labels[index]], part]
        if isinstance(look, str):
            yield [*place, "refused", look, "", "", "", "", "", "", ""]
            continue
        number += 1
        finding, other = findings.found.get(number, ("", None))
        twin = "" if other is None else layout.names[usable[other]]
        yield [*place, "used", "", finding, twin, look.format, *look.size, look.size_bytes, look.sha256]
    for file in layout.refused:
        yield [file.name, "", "", "refused", file.reason, "", "", "", "", "", "", ""]


def _write_summary(folder: Path, summary: TableSummary) -> None:
    part = folder / f"{SUMMARY}.part"
    with part.open("w", encoding="utf-8") as file:
        file.write(summary.model_dump_json())
        _sync(file)
    part.replace(folder / SUMMARY)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
