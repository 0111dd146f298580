"""Processes of this machine that outlive the one that started them: who they are, and how they are ended.

Linux: a process id is given out again, so a process is known by id, start time and boot together.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen

POLL_S = 0.02
LOG_LIMIT_BYTES = 20_000_000  # a log that is longer when its process starts becomes NAME.log.1


@dataclass(frozen=True)
class Identity:
    """One process of one boot; `start_ticks` is field 22 of /proc/PID/stat."""

    pid: int
    start_ticks: int
    boot: str


def identify(pid: int) -> Identity | None:
    """Who `pid` is now; None when nobody, or only a zombie."""
    try:
        # The command's name may hold spaces and brackets: the fields begin after its last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]), boot)


def alive(who: Identity) -> bool:
    """Whether that very process still runs."""
    return identify(who.pid) == who


def end(who: Identity, grace_s: float) -> None:
    """SIGTERM, then SIGKILL when it still runs after `grace_s`; returns when it is gone."""
    if grace_s > 0:
        send(who, signal.SIGTERM)
        if gone_within(who, grace_s):
            return
    send(who, signal.SIGKILL)
    gone_within(who, 5.0)


def send(who: Identity, number: signal.Signals) -> None:
    """Signal that very process; nothing happens when it is gone. A pidfd cannot hit a successor of the same id."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(who.pid)
        try:
            if alive(who):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def gone_within(who: Identity, seconds: float) -> bool:
    """Wait for a process to end, whoever its parent is. False when it still runs after `seconds`."""
    deadline = time.monotonic() + seconds
    while alive(who):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


class PidFile:
    """Remembers a process in a file, for whoever comes after its parent."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, pid: int) -> None:
        """Remember a running process; one that is gone already is not remembered."""
        who = identify(pid)
        if who:
            draft = self.path.with_suffix(".tmp")
            draft.write_text(json.dumps(asdict(who)))
            draft.replace(self.path)

    def living(self) -> Identity | None:
        """The remembered process, if it still runs."""
        try:
            who = Identity(**json.loads(self.path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return who if alive(who) else None

    def remove(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Command:
    """How a child is started: its name, arguments, environment, the descriptors it inherits."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    descriptors: tuple[int, ...] = ()


class Child:
    """A process in a session of its own, so that a terminal's Ctrl-C does not reach it; its output goes to a log."""

    def __init__(self, command: Command, run_dir: Path, logs_dir: Path) -> None:
        self.command = command
        self.log = logs_dir / f"{command.name}.log"
        self._pid_file = PidFile(run_dir / f"{command.name}.pid")
        self._process: Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Of its command, its log and its pid file."""
        return self.command.name

    def start(self) -> None:
        """Start it, and remember it."""
        _rotate(self.log)
        with self.log.open("ab") as log:
            self._process = Popen(
                self.command.arguments,
                env=dict(self.command.environment),
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                start_new_session=True,
                pass_fds=self.command.descriptors,
            )
        self._pid_file.write(self._process.pid)

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def ending(self) -> str:
        """How it ended: `ended with code 1`, `was killed by SIGKILL`."""
        code = self._process.returncode if self._process else 0
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with code {code}"

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self._process and self.running:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL, and wait for it; also forgets it."""
        if self._process:
            if self.running:
                self._process.kill()
            self._process.wait()
        self._pid_file.remove()

    def tail(self, lines: int = 12) -> list[str]:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.splitlines()[-lines:]


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_name(log.name + ".1"))
