"""Who a process is, and whether a group of them is gone. Linux: /proc and pidfds.

A process id alone says little: the kernel gives it out again. Together with the start time and the boot it is unique.
"""

import asyncio
import contextlib
import ctypes
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
POLL_S = 0.02


class Identity(BaseModel):
    """One process of one boot: `start_ticks` is field 22 of /proc/PID/stat."""

    pid: int
    start_ticks: int
    boot: str


class Stat(NamedTuple):
    """What we need of /proc/PID/stat."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """A zombie holds no memory, no GPU and no file: only its parent has not looked yet."""
        return self.state not in "ZX"


def stat(pid: int) -> Stat | None:
    """What the kernel says about a process, zombies included; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and brackets: the fields begin after its last bracket.
    fields = text.rpartition(")")[2].split()
    return Stat(pid, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def every_process() -> Iterator[Stat]:
    """All processes that we can see, zombies included."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (found := stat(int(entry.name))):
            yield found


def boot() -> str:
    """The id of this boot of the machine: after a restart the same pid and ticks may come again."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identity(pid: int) -> Identity:
    """Who `pid` is now. Raises ProcessLookupError when there is no such process."""
    found = stat(pid)
    if found is None:
        raise ProcessLookupError(pid)
    return Identity(pid=pid, start_ticks=found.start_ticks, boot=boot())


def alive(who: Identity) -> bool:
    """Whether that very process still runs."""
    found = stat(who.pid)
    return bool(found and found.alive and found.start_ticks == who.start_ticks and who.boot == boot())


def send(who: Identity, number: signal.Signals) -> None:
    """Signal that very process; nothing happens when it is gone. A pidfd cannot hit a successor of the same pid."""
    with contextlib.suppress(ProcessLookupError), pidfd(who.pid) as descriptor:
        if alive(who):
            signal.pidfd_send_signal(descriptor, number)


def wait_for(who: Identity, timeout_s: float | None = None) -> bool:
    """Wait until that process is gone, whoever its parent is. False when it still runs after `timeout_s`."""
    try:
        with pidfd(who.pid) as descriptor:
            if not alive(who):
                return True
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            return bool(waiting.poll(None if timeout_s is None else timeout_s * 1000))
    except ProcessLookupError:
        return True
    finally:
        reap(who.pid)  # after Celery's HUP restart, which keeps the pid, it is our child without our knowing


def members(group: int) -> list[int]:
    """Living processes of a process group."""
    return [each.pid for each in every_process() if each.group == group and each.alive]


def session_leftovers(leader: Identity) -> list[int]:
    """Living processes of the session that a now dead leader began; empty when its id was given out again."""
    found = stat(leader.pid)
    if leader.boot != boot() or (found and (found.alive or found.start_ticks != leader.start_ticks)):
        return []
    return [
        each.pid
        for each in every_process()
        if each.session == leader.pid and each.alive and each.start_ticks >= leader.start_ticks
    ]


def kill(pids: list[int]) -> None:
    """SIGKILL; those already gone are no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans: it can reap them, and none escapes by a double fork."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def reap(pid: int) -> None:
    """Take note of an ended orphan of which we are the parent, so that it does not stay a zombie."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


async def ended(pid: int) -> None:
    """Return when a process that we know to be there has ended; at once when it already has."""
    with contextlib.suppress(ProcessLookupError), pidfd(pid) as descriptor:
        await ended_by(descriptor)


async def ended_by(descriptor: int) -> None:
    """Return when the process of a pidfd has ended."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)


@contextlib.contextmanager
def pidfd(pid: int) -> Iterator[int]:
    """A descriptor of that process, which no other can get. Raises ProcessLookupError when there is none."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
