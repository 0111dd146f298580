"""What a run says: ranks and the planner report over pipes, and the launcher alone writes events.jsonl.

One writer means one sequence: it numbers the lines as they arrive, so no process waits for another to report.
"""

import errno
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from app.contract.events import Reported
from app.contract.failures import Failure

FAILURE_MARK = b"!"
"""A line that begins with it is a `Failure`."""
SMALLER_MARK = b"<"
"""One that begins with it: how many images at a time the process would try next. Every other one is an event."""


def line(kind: type[Reported], fields: dict[str, Any]) -> bytes:
    """An event as one line of JSON, without `seq`; its time is now unless given."""
    event = kind(**{"seq": 1, "time": datetime.now(UTC), **fields})
    return event.model_dump_json(exclude={"seq"}).encode() + b"\n"


class EventLog:
    """events.jsonl: numbered from 1, append-only, each line written at once. Goes on where the file ends."""

    def __init__(self, path: Path) -> None:
        self._seq = _lines_in(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, kind: type[Reported], **fields: Any) -> None:
        """Report something of the launcher's own."""
        self.append(line(kind, fields))

    def append(self, unnumbered: bytes) -> None:
        """Number a line that a process of the run reported, and write it: all of it, or nothing and `OSError`."""
        text = b'{"seq":%d,%s' % (self._seq + 1, unnumbered.removeprefix(b"{"))
        written = os.write(self._file, text)
        if written < len(text):
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._seq += 1

    def close(self) -> None:
        """After the last line."""
        os.close(self._file)


class Reporter:
    """A process's end of its pipe to the launcher. Sending costs the caller a queue entry; a thread does the rest.

    `muted`: events are dropped (one rank speaks for all); a failure is always told.
    """

    def __init__(self, pipe: int, *, muted: bool = False) -> None:
        self._pipe = pipe
        self._muted = muted
        self._waiting: SimpleQueue[tuple[type[Reported], dict[str, Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="reporter", daemon=True)
        self._thread.start()

    def send(self, kind: type[Reported], **fields: Any) -> None:
        """Report an event; `time` may be given when it happened earlier."""
        if not self._muted:
            self.send_always(kind, **fields)

    def send_always(self, kind: type[Reported], **fields: Any) -> None:
        """The same for what this process alone knows, muted or not."""
        self._waiting.put((kind, {"time": datetime.now(UTC), **fields}))

    def fail(self, failure: Failure, smaller: int | None = None) -> None:
        """Tell why this process cannot go on, after everything it sent before.

        `smaller`: with so many images at a time it might, see `memory`.
        """
        self.close()
        if smaller is not None:
            _write(self._pipe, SMALLER_MARK + b"%d\n" % smaller)
        _write(self._pipe, FAILURE_MARK + failure.model_dump_json().encode() + b"\n")

    def close(self) -> None:
        """Wait until everything sent is in the pipe."""
        self._waiting.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        while (message := self._waiting.get()) is not None:
            _write(self._pipe, line(*message))


def _write(pipe: int, text: bytes) -> None:
    while text:
        text = text[os.write(pipe, text) :]


def _lines_in(path: Path) -> int:
    """How many whole lines are there; the part of one that a full disk left is cut off."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return content.count(b"\n")
