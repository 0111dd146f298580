"""One supervisor ahead of its work: its interpreter and its imports are there when a claim comes, which saves 0.4 s.

It is an ordinary supervisor in a session of its own, used once. It waits for a line on its standard input; when that
closes, the worker is gone, and it goes too.
"""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from pydantic import BaseModel

from worker.server import Server
from worker.settings import WorkerSettings
from worker.warm import title
from worker.warm.code import fingerprint

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "worker.supervisor")
PAUSE_S = 3.0  # before the next one is started: the run that has just begun needs the processors now


class Handed(BaseModel):
    """What a waiting supervisor is told: its record, and the file for what it prints."""

    record: Path
    output: Path


def start(path: Path, output: Path) -> "subprocess.Popen[bytes]":
    """A supervisor for that record, from a fresh interpreter. Raises OSError."""
    with output.open("ab") as file:
        return subprocess.Popen(
            [*COMMAND, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class Spare:
    """Keeps one waiting, unless `kept` is false. Of one thread, but for what its timer does."""

    def __init__(self, *, kept: bool) -> None:
        self._waiting: subprocess.Popen[bytes] | None = None
        self._timer: threading.Timer | None = None
        self._code = ""
        self._closed = not kept
        self._lock = threading.Lock()

    def prepare_soon(self) -> None:
        """Start one in a while, unless one waits. Without one, a supervisor takes longer to begin."""
        with self._lock:
            if self._waiting is None and self._timer is None and not self._closed:
                self._timer = threading.Timer(PAUSE_S, self._prepare)
                self._timer.daemon = True
                self._timer.start()

    def _prepare(self) -> None:
        with self._lock:
            self._timer = None
            if self._closed:
                return
            try:
                self._code = fingerprint()
                self._waiting = subprocess.Popen(
                    [*COMMAND, "--wait", title.ROOM],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                log.warning("no supervisor ahead of its work: %s", error)

    def take(self, path: Path, output: Path) -> "subprocess.Popen[bytes] | None":
        """Give that record to the one that waits; None when there is none, or not of the code that is installed.

        Raises OSError when `output` cannot be written, as `start` does.
        """
        output.open("ab").close()
        with self._lock:
            process, self._waiting = self._waiting, None
        if process is None or not self._told(process, Handed(record=path, output=output)):
            return None
        return process

    def _told(self, process: "subprocess.Popen[bytes]", task: Handed) -> bool:
        assert process.stdin
        try:
            if process.poll() is None and fingerprint() == self._code:
                process.stdin.write(task.model_dump_json().encode() + b"\n")
                process.stdin.close()
                return True
        except OSError as error:
            log.warning("the supervisor ahead of its work is not there: %s", error)
        _end(process)
        return False

    def close(self) -> None:
        """End the one that waits."""
        with self._lock:
            self._closed = True
            process, self._waiting = self._waiting, None
        if process is not None:
            _end(process)


def wait_for_task() -> Path | None:
    """In the supervisor: its record, when the worker has one for it; None when the worker is gone."""
    asyncio.run(_rehearse())
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return None
    task = Handed.model_validate_json(line)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    output = os.open(task.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((nowhere, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nowhere)
    os.close(output)
    return task.record


async def _rehearse() -> None:
    """A client of the service imports the half of itself as it is made: 0.04 s."""
    async with Server(WorkerSettings()):
        pass


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    if process.stdin:
        process.stdin.close()
