"""Child processes of the launcher: forked, known by pidfd, dying with it, each with a log and a pipe to report over."""

import ctypes
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.contract.failures import Failure, FailureCode, failure
from worker.training.events import FAILURE_MARK, SMALLER_MARK

PR_SET_PDEATHSIG = 1
STOPPED = 75
"""Exit code of a process that was asked to stop and did (EX_TEMPFAIL: try again later)."""
STOPPED_UNSAVED = 76
"""The same, but its last steps are lost; known only between ranks and launcher."""
DISK_FULL = 74
"""Exit code of a launcher whose disk is full (EX_IOERR): it may not have been able to write that down."""
DUMP_STACKS = signal.SIGUSR1

_libc = ctypes.CDLL(None, use_errno=True)  # looked up before forking: a child should not load libraries


@dataclass
class Child:
    """A process that the launcher started. `pidfd` becomes readable when it ends."""

    name: str
    pid: int
    pidfd: int
    pipe: int
    exit_code: int | None = None
    is_silent: bool = False  # it closed its end of the pipe
    failure: Failure | None = None
    smaller: int | None = None  # images at a time with which it might not have failed
    dismissed: bool = False
    _unfinished: bytes = field(default=b"", repr=False)

    def read(self) -> tuple[list[bytes], bool]:
        """The events that arrived, and whether it closed its end: nothing more will come.

        A failure among the lines is kept; a line that never ended is not a line.
        """
        arrived, is_last = _available(self.pipe)
        lines = (self._unfinished + arrived).split(b"\n")
        self._unfinished = lines.pop()
        return [text + b"\n" for text in lines if not self._kept(text)], is_last

    def _kept(self, text: bytes) -> bool:
        """Whether a line was for us, and no event."""
        if text.startswith(FAILURE_MARK):
            self.failure = Failure.model_validate_json(text.removeprefix(FAILURE_MARK))
        elif text.startswith(SMALLER_MARK):
            self.smaller = int(text.removeprefix(SMALLER_MARK))
        else:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, to this very process and never to another that got its number."""
        if self.exit_code is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def dismiss(self) -> None:
        """Kill it; that it dies so is then no failure of its own."""
        self.dismissed = True
        self.signal(signal.SIGKILL)

    def reap(self) -> None:
        """Take its exit code once it has ended: negative for the signal that killed it."""
        _, status = os.waitpid(self.pid, 0)
        self.exit_code = os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Let go of its descriptors."""
        os.close(self.pidfd)
        os.close(self.pipe)

    def verdict(self) -> Failure | None:
        """Why it ended badly; None when it did not."""
        ended_well = self.exit_code is None or self.exit_code in (0, STOPPED, STOPPED_UNSAVED)
        if self.failure or self.dismissed or ended_well:
            return self.failure
        assert self.exit_code is not None
        code = FailureCode.CRASHED if self.exit_code < 0 else FailureCode.INTERNAL
        return failure(code, f"{self.name} {_end(self.exit_code)}; the end of its log may say why.")


def fork(name: str, log: Path, body: Callable[[int], int]) -> Child:
    """Run `body(pipe)` in a child that dies with this process; its output goes to `log`, its result is its exit code.

    The parent should have a single thread. Neither does the child run the parent's exit handlers.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(_in_child(parent, reading, writing, log, body))
    os.close(writing)
    os.set_blocking(reading, False)
    return Child(name, pid, os.pidfd_open(pid), reading)


def _in_child(parent: int, reading: int, writing: int, log: Path, body: Callable[[int], int]) -> int:
    try:
        os.close(reading)
        _write_to(log)
        die_with(parent)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # the launcher answers them, for all
        signal.set_wakeup_fd(-1)
        faulthandler.enable()
        faulthandler.register(DUMP_STACKS)
        return body(writing)
    except BaseException:  # noqa: BLE001  (nothing may climb into the parent's code)
        with suppress(OSError):  # the disk may be full
            traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even by SIGKILL."""
    if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) or os.getppid() != parent:
        os._exit(1)


def _write_to(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  (lives as long as the process)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def _available(pipe: int) -> tuple[bytes, bool]:
    """What can be read without waiting, and whether that was the last."""
    parts = []
    try:
        while part := os.read(pipe, 1 << 16):
            parts.append(part)
    except BlockingIOError:
        return b"".join(parts), False
    return b"".join(parts), True


def _end(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    hint = ", as the kernel does when memory runs out" if exit_code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-exit_code).name}{hint}"
