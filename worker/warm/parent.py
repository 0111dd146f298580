"""The warm parent: `python -m worker.warm.parent SOCKET PROGRAM WORKER_PID ATTEMPTS HOURS ROOM`.

It loads PROGRAM, listens on SOCKET and forks a steward for every run that is asked for. It has one thread, runs nothing
of what it has loaded, opens no device, and dies with the worker. It leaves by itself, for the worker to start the next
one, after so many ATTEMPTS or HOURS, when it has grown, and when the code has changed.
"""

import gc
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Literal, NoReturn, Protocol

from pydantic import ValidationError

from worker import environment
from worker.training.processes import die_with
from worker.warm import messages
from worker.warm.code import fingerprint
from worker.warm.messages import Ask, Declined
from worker.warm.steward import tend

LOOK_S = 60.0  # between two looks at age, size and code, when nobody asks
MOST_GROWTH_BYTES = 128 << 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Program(Protocol):
    """A module that can be loaded ahead and then run in a process forked from the one that loaded it."""

    def load(self) -> None:
        """Import what runs need. Must leave a single thread, and nothing that a fork would break."""

    def main(self, arguments: list[str]) -> int:
        """A whole run in a process of its own; its exit code."""


def main(arguments: list[str]) -> int:
    """Load, then serve until outlived. 0: the next one should take its place; 1: it cannot be what it should."""
    path, program, worker, attempts, hours, _room = arguments
    die_with(int(worker))
    known = dict(os.environ)
    code = fingerprint()
    loaded: Program = import_module(program)
    loaded.load()
    if trouble := _unfit():
        say("error", trouble)
        return 1
    if fingerprint() != code:
        say("info", "the code changed while it was loaded")
        return 0
    gc.collect()
    gc.freeze()  # what is loaded stays: a collection in a run would copy every page of it
    with messages.listen(Path(path)) as listener:
        say("info", f"ready: {resident_bytes() >> 20} MiB")
        return Parent(listener, loaded, known, code, Span(int(attempts), float(hours))).serve()


def _unfit() -> str | None:
    """Why nothing may be forked from this process."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        return f"loading left {threads} threads: a fork would lose all but one, with the locks that they hold"
    devices = sorted(name for name in _open_files() if name.startswith(("/dev/nvidia", "/dev/dri")))
    if devices:
        return f"loading opened {', '.join(devices)}: a device cannot be shared with what is forked"
    return None


def _open_files() -> Iterator[str]:
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the folder
            yield str(path.readlink())


class Span:
    """How long one parent may serve."""

    def __init__(self, attempts: int, hours: float) -> None:
        self.attempts_left = attempts
        self._until = time.monotonic() + hours * 3600
        self._most_bytes = resident_bytes() + MOST_GROWTH_BYTES

    def over(self) -> str | None:
        """Why it is over."""
        if self.attempts_left <= 0:
            return "it has served its number of attempts"
        if time.monotonic() > self._until:
            return "it is old"
        if resident_bytes() > self._most_bytes:
            return "it has grown"
        return None


class Parent:
    """Waits for requests. `known` is the environment that it was started with, `code` the code that it loaded."""

    def __init__(self, listener: socket.socket, program: Program, known: dict[str, str], code: str, span: Span) -> None:
        self._program = program
        self._known = known
        self._code = code
        self._span = span
        self._brought = {name: value for name, value in os.environ.items() if known.get(name) != value}
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def serve(self) -> int:
        """Until it is outlived; runs that were begun need no parent."""
        while True:
            ready = [key for key, _ in self._selector.select(LOOK_S)]
            for key in ready:
                key.data(key.fileobj)
            # Not when somebody has only just connected: who asks is to hear why nothing is forked.
            if (not ready or any(key.data == self._hear for key in ready)) and (why := self._outlived()):
                say("info", f"leaving: {why}")
                return 0

    def _outlived(self) -> str | None:
        return self._span.over() or (None if self._same_code() else "the code has changed")

    def _same_code(self) -> bool:
        try:
            return fingerprint() == self._code
        except OSError:
            return False

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        try:
            messages.refuse_strangers(connection)
        except OSError as error:
            say("warning", str(error))
            connection.close()
            return
        self._selector.register(connection, selectors.EVENT_READ, self._hear)

    def _hear(self, connection: socket.socket) -> None:
        """One message, and then the connection is its steward's."""
        self._selector.unregister(connection)
        with connection, suppress(OSError):  # whoever asked may be gone
            said = connection.recv(messages.LARGEST_BYTES)
            if said == messages.PING:
                connection.send(messages.PONG)
            elif said:
                self._answer(connection, said)

    def _answer(self, connection: socket.socket, said: bytes) -> None:
        try:
            ask = Ask.model_validate_json(said)
        except ValidationError as error:
            connection.send(Declined(reason=f"the request cannot be read: {error}").model_dump_json().encode())
            return
        reason = self._refusal(ask)
        if reason:
            connection.send(Declined(reason=reason).model_dump_json().encode())
            return
        self._span.attempts_left -= 1
        pid = os.fork()
        if pid == 0:
            self._become_steward(connection, ask)
        descriptor = os.pidfd_open(pid)
        self._selector.register(descriptor, selectors.EVENT_READ, self._bury)

    def _refusal(self, ask: Ask) -> str | None:
        """A library may have read its variables as it was loaded, and code may have changed since."""
        told = self._known | ask.environment
        other = {name for name in told if self._known.get(name) != ask.environment.get(name)} - environment.OF_A_RUN
        if other:
            return f"it was loaded with another {', '.join(sorted(other))}"
        return self._outlived()

    def _become_steward(self, connection: socket.socket, ask: Ask) -> NoReturn:
        """In the forked process: let go of all that belongs to the parent or to other runs."""
        for key in list(self._selector.get_map().values()):
            # Detached, so that no object closes the number again when another file has got it.
            os.close(key.fileobj.detach() if isinstance(key.fileobj, socket.socket) else key.fd)
        self._selector.close()
        tend(connection, ask.model_copy(update={"environment": ask.environment | self._brought}), self._program.main)

    def _bury(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED)
        os.close(descriptor)


def resident_bytes() -> int:
    """What this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def say(level: Literal["info", "warning", "error"], message: str) -> None:
    """A line on stderr. Without `logging`, whose handlers would be inherited."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    sys.stderr.write(f"{now}Z {level.upper()} warm parent {os.getpid()}: {message}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
