"""A job's log, read from the files that its supervisors write: `attempts/<n>/log.ndjson`, one LogLine a line.

A cursor is `attempt:byte offset`, so reading on costs what is returned, and the tail is read backwards in blocks.
A last line without its newline is still being written: it is not delivered until it is whole. Work per request is
bounded by `MAX_SCAN_BYTES`; a filter that finds little answers a short page whose cursor stands where the scan stopped.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import ValidationError

from app.contract.views import LogLine

MAX_SCAN_BYTES = 8 * 2**20
MAX_LINE_BYTES = 2**20
BLOCK_BYTES = 64 * 2**10

Level = Literal["debug", "info", "warning", "error"]
SEVERITY: dict[str, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}


@dataclass(frozen=True, order=True)
class LogCursor:
    """A place in the log: everything before byte `offset` of this attempt's file was read."""

    attempt: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "LogCursor | None":
        """None when the text is not a cursor of ours."""
        match = re.fullmatch(r"(\d{1,9}):(\d{1,15})", text, re.ASCII)
        return cls(int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True)
class LogFilter:
    """Which lines are wanted: of one rank, at least so severe, with this text in the message (any case)."""

    rank: int | None = None
    level: Level = "debug"
    search: str = ""

    def wants(self, line: LogLine) -> bool:
        """Whether the line passes."""
        return (
            (self.rank is None or line.rank == self.rank)
            and SEVERITY[line.level] >= SEVERITY[self.level]
            and self.search.lower() in line.message.lower()
        )


@dataclass(frozen=True)
class LogPage:
    """Lines, each with the cursor behind it, and where to read on. `at_end`: nothing more was there."""

    lines: list[tuple[LogCursor, LogLine]]
    cursor: LogCursor
    at_end: bool


def read_after(job_dir: Path, cursor: LogCursor, wanted: LogFilter, limit: int) -> LogPage:
    """The next `limit` lines behind `cursor`, over all attempts. No files: an empty page."""
    lines: list[tuple[LogCursor, LogLine]] = []
    scanned = 0
    for place, raw in _forwards(job_dir, cursor):
        scanned += place.offset - cursor.offset if place.attempt == cursor.attempt else place.offset
        cursor = place
        line = _parsed(raw)
        if line and wanted.wants(line):
            lines.append((place, line))
        if len(lines) >= limit or scanned >= MAX_SCAN_BYTES:
            return LogPage(lines, cursor, at_end=False)
    return LogPage(lines, cursor, at_end=True)


def read_tail(job_dir: Path, count: int, wanted: LogFilter) -> LogPage:
    """The last `count` lines, in the order they were written. The cursor stands at the end of the log."""
    lines: list[tuple[LogCursor, LogLine]] = []
    end, scanned = LogCursor(), 0
    for place, raw in _backwards(job_dir):
        end = max(end, place)
        scanned += len(raw)
        line = _parsed(raw)
        if line and wanted.wants(line):
            lines.append((place, line))
        if len(lines) >= count or scanned >= MAX_SCAN_BYTES:
            break
    return LogPage(lines[::-1], end, at_end=True)


def _files(job_dir: Path) -> list[tuple[int, Path]]:
    """The log files by attempt, oldest first."""
    folder = job_dir / "attempts"
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    attempts = sorted(int(name) for name in names if name.isascii() and name.isdigit())
    paths = [(attempt, folder / str(attempt) / "log.ndjson") for attempt in attempts]
    return [(attempt, path) for attempt, path in paths if path.is_file()]


def _forwards(job_dir: Path, cursor: LogCursor) -> Iterator[tuple[LogCursor, bytes]]:
    """Whole lines behind the cursor, each with the place behind it."""
    for attempt, path in _files(job_dir):
        if attempt < cursor.attempt:
            continue
        offset = cursor.offset if attempt == cursor.attempt else 0
        with path.open("rb") as file:
            file.seek(offset)
            for raw in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
                if not raw.endswith(b"\n") and len(raw) < MAX_LINE_BYTES:
                    break
                offset += len(raw)
                yield LogCursor(attempt, offset), raw


def _backwards(job_dir: Path) -> Iterator[tuple[LogCursor, bytes]]:
    """Whole lines from the end of the log, each with the place behind it."""
    for attempt, path in reversed(_files(job_dir)):
        with path.open("rb") as file:
            for offset, raw in _lines_backwards(file):
                yield LogCursor(attempt, offset), raw


def _lines_backwards(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(offset behind the line, the line) from the last whole line to the first, reading in blocks from the end."""
    start = file.seek(0, 2)
    rest, torn = b"", True
    while start > 0 and len(rest) <= MAX_SCAN_BYTES:
        size = min(BLOCK_BYTES, start)
        start -= size
        file.seek(start)
        pieces = (file.read(size) + rest).split(b"\n")
        offset = start + sum(map(len, pieces)) + len(pieces) - 1
        for piece in reversed(pieces[1:]):
            if not torn:
                yield offset + 1, piece + b"\n"
            torn = False
            offset -= len(piece) + 1
        rest = pieces[0]
    if not torn and start == 0:
        yield len(rest) + 1, rest + b"\n"


def _parsed(raw: bytes) -> LogLine | None:
    """None for half a line: an old crash tore it, or a forged cursor points into it."""
    try:
        line: Any = json.loads(raw)
        return LogLine.model_validate(line)
    except (ValueError, ValidationError):
        return None
