"""The logs of all ranks as one file of JSON lines, which the service reads: `logs/*.log` -> `log.ndjson`."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Literal

from app.contract.views import LogLine

Level = Literal["debug", "info", "warning", "error"]

READ_BYTES = 1 << 20
LONGEST_LINE_BYTES = 16 << 10
CAP_BYTES = 64 << 20

OWN_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z) "
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<message>.*)",
    re.DOTALL,
)
LEVELS: dict[str, Level] = {
    "DEBUG": "debug",
    "INFO": "info",
    "WARNING": "warning",
    "ERROR": "error",
    "CRITICAL": "error",
}
RANK = re.compile(r"rank(\d+)\.log")
TRACEBACK = "Traceback (most recent call last):"

_Placed = tuple[datetime, LogLine]
"""A line and the time by which it is sorted among those of other files; within a file that never goes back."""


class LogMerge:
    """The only writer of an attempt's `log.ndjson`. Call `step` now and then, and `close` when all writers are gone."""

    def __init__(self, run_dir: Path, attempt: int, cap_bytes: int = CAP_BYTES) -> None:
        self._folder = run_dir / "logs"
        self._target = run_dir / "log.ndjson"
        self._attempt = attempt
        self._cap_bytes = cap_bytes
        self._left_bytes = cap_bytes
        self._tails: dict[str, _Tail] = {}

    def step(self) -> bool:
        """Append lines that were completed since the last step, oldest first; True when there were too many for one."""
        tails = list(self._found())
        if self._left_bytes > 0:
            self._append([line for tail in tails for line in tail.lines()])
        is_cut = self._left_bytes <= 0
        for tail in tails:
            if is_cut or not tail.behind:
                tail.bound(self._cap_bytes)
        return not is_cut and any(tail.behind for tail in tails)

    def close(self) -> bool:
        """Append what is left, last lines without a line end included. False: there is no more."""
        while self.step():
            pass
        self._append([line for tail in self._tails.values() for line in tail.rest()])
        return False

    def _found(self) -> Iterator["_Tail"]:
        for path in sorted(self._folder.glob("*.log")):
            if path.name not in self._tails:
                self._tails[path.name] = _Tail(path, self._attempt)
            yield self._tails[path.name]

    def _append(self, lines: list[_Placed]) -> None:
        if not lines or self._left_bytes <= 0:
            return
        lines.sort(key=itemgetter(0))  # stable: lines of one file keep their order
        with self._target.open("ab") as file:
            for _, line in lines:
                data = line.model_dump_json().encode() + b"\n"
                self._left_bytes -= len(data)
                if self._left_bytes <= 0:
                    file.write(self._cut_note())
                    return
                file.write(data)

    def _cut_note(self) -> bytes:
        message = "The log is cut here: it grew too long. What came last is in the attempt's logs folder."
        note = LogLine(time=datetime.now(UTC), attempt=self._attempt, rank=None, level="warning", message=message)
        return note.model_dump_json().encode() + b"\n"


class _Tail:
    """One file, read as it grows."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._path = path
        self._attempt = attempt
        match = RANK.fullmatch(path.name)
        self._rank = int(match[1]) if match else None
        self._offset = 0
        self._torn = b""
        self._torn_bytes = 0
        self._place = datetime.min.replace(tzinfo=UTC)
        self._time: datetime | None = None
        self._in_traceback = False
        self.behind = False

    def lines(self) -> Iterator[_Placed]:
        """Lines completed since the last call, out of at most one piece."""
        self._time = None
        with self._path.open("rb") as file:
            file.seek(self._offset)
            piece = file.read(READ_BYTES)
        self.behind = len(piece) == READ_BYTES
        self._offset += len(piece)
        first, *others = piece.split(b"\n")
        self._extend(first)
        for other in others:
            yield self._take()
            self._extend(other)

    def bound(self, cap_bytes: int) -> None:
        """Empty a file that grew too long: its writers append, so they go on at its new end."""
        if self._path.stat().st_size > cap_bytes:
            os.truncate(self._path, 0)
            self._offset = 0

    def rest(self) -> Iterator[_Placed]:
        """The last line, when its writer died in the middle of it."""
        if self._torn_bytes:
            yield self._take()

    def _extend(self, piece: bytes) -> None:
        """Hold no more of a line than is kept of it: a program may write gigabytes without a line end."""
        self._torn += piece[: LONGEST_LINE_BYTES - len(self._torn)]
        self._torn_bytes += len(piece)

    def _take(self) -> _Placed:
        text = self._torn.decode(errors="replace").rstrip("\r")
        if self._torn_bytes > LONGEST_LINE_BYTES:
            text += f" ... ({self._torn_bytes} bytes in all)"
        self._torn, self._torn_bytes = b"", 0
        line = self._line(text)
        return self._place, line

    def _line(self, text: str) -> LogLine:
        own = OWN_LINE.fullmatch(text)
        if own:
            self._in_traceback = False
            self._time = datetime.fromisoformat(own["time"])
            self._place = max(self._place, self._time)
            return self._made(LEVELS[own["level"]], own["message"])
        # A raw line has no time: it shows that of the line before it, or when it was read.
        self._time = self._time or datetime.now(UTC)
        return self._made("error" if self._raw_error(text) else "info", text)

    def _raw_error(self, text: str) -> bool:
        """A traceback goes on to its first line that is not indented, which names the exception."""
        if text.startswith(TRACEBACK):
            self._in_traceback = True
            return True
        was_in_traceback = self._in_traceback
        self._in_traceback = was_in_traceback and text[:1] in ("", " ")
        return was_in_traceback

    def _made(self, level: Level, message: str) -> LogLine:
        time = self._time or datetime.now(UTC)
        return LogLine(time=time, attempt=self._attempt, rank=self._rank, level=level, message=message)


def last_lines(run_dir: Path, count: int = 20) -> str:
    """The end of the launcher's and the first rank's log, where the cause of a crash stands."""
    texts = [_end_of(run_dir / "logs" / name, count) for name in ("launcher.log", "rank0.log")]
    return "\n".join(text for text in texts if text)


def _end_of(path: Path, count: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - LONGEST_LINE_BYTES, 0))
            text = file.read(LONGEST_LINE_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-count:])
