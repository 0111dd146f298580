"""The training program as a group of processes: started, asked to stop, killed, and known to be gone."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker import processes
from worker.processes import Identity

log = logging.getLogger(__name__)

TRAINING = (sys.executable, "-m", "worker.training")


@dataclass(frozen=True)
class Start:
    """How a program is started: its arguments, all of its environment, and the file for what it prints."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    output: Path


class Launcher:
    """A started program, leader of a process group of its own in this session. One per supervisor."""

    steward: Identity | None = None
    """Who stands between us and it, where it was not we who started it: see worker/warm."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.who = processes.identity(process.pid)

    @classmethod
    def begin(cls, command: Sequence[str], start: Start) -> "Launcher":
        """Start `command` with the arguments of `start`. Raises OSError when it cannot be started."""
        start.output.parent.mkdir(parents=True, exist_ok=True)
        with start.output.open("ab") as file:
            process = subprocess.Popen(
                [*command, *start.arguments],
                env=dict(start.environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """Of the program, and the number of its group."""
        return self.who.pid

    def go(self) -> None:
        """It may begin. One that was started here already has."""

    def ask_to_stop(self) -> None:
        """SIGTERM to the launcher alone: it agrees on the step with its ranks, saves, and ends them."""
        self._process.send_signal(signal.SIGTERM)  # Popen does not signal what it has reaped

    async def ended(self) -> int:
        """Wait for the launcher; its exit code, negative for a signal."""
        await processes.ended(self.pid)
        return self._process.wait()

    async def end_group(self) -> None:
        """SIGKILL the launcher and all that it started, and return when nothing of it is left."""
        slow_s = 0.0
        while left := self._left():
            processes.kill(left)
            await asyncio.sleep(processes.POLL_S)
            slow_s += processes.POLL_S
            if slow_s > 10:
                # A process inside a hanging driver call cannot be killed: its device is not free, so we wait.
                log.error("processes that do not die of SIGKILL: %s", left)
                slow_s = 0.0

    def _left(self) -> list[int]:
        """Living processes of the group, and orphans of it that left it (we are their parent now)."""
        self._process.poll()  # reaped, so that nobody else has its exit code
        me = os.getpid()
        found = [
            each
            for each in processes.every_process()
            if each.group == self.pid or (each.parent == me and each.pid != me)
        ]
        for each in found:
            if not each.alive and each.pid != self.pid:
                processes.reap(each.pid)
        return [each.pid for each in found if each.alive]
