"""A run that is forked from the worker's warm parent, as its supervisor sees it."""

import asyncio
import logging
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from worker import processes
from worker.launcher import TRAINING, Launcher, Start
from worker.warm import messages
from worker.warm.messages import ANSWER, Ask, Ended, Forked
from worker.warm.surroundings import Surroundings

log = logging.getLogger(__name__)

ANSWER_S = 3.0  # a fork takes 0.02 s, on 2 cores that 20 processes want 0.2 s; a cold start takes longer than waiting
TELL_S = 10.0  # for the steward's last word, when the launcher has ended


def begin(path: Path, start: Start) -> "WarmLauncher | None":
    """Have the warm parent that listens at `path` fork the run; it waits for `go`. None: it must be started cold."""
    connection = None
    try:
        connection = messages.connect(path, ANSWER_S)
        start.output.parent.mkdir(parents=True, exist_ok=True)
        connection.send(_asked(start).model_dump_json().encode())
        answer = ANSWER.validate_json(connection.recv(messages.LARGEST_BYTES))
        if isinstance(answer, Forked):
            return WarmLauncher(connection, answer)
        _note(answer.reason)
    except (FileNotFoundError, ConnectionRefusedError):
        _note("there is no warm parent now")
    except (OSError, ValidationError) as error:
        _note(str(error) or type(error).__name__)
    if connection is not None:
        connection.close()  # what may have been forked all the same then knows that it is not wanted
    return None


def _asked(start: Start) -> Ask:
    return Ask(
        command=[*TRAINING],
        arguments=list(start.arguments),
        environment=dict(start.environment),
        output=str(start.output),
        surroundings=Surroundings.of_this_process(),
    )


def _note(reason: str) -> None:
    log.info("the run starts cold: %s", reason)


class WarmLauncher(Launcher):
    """Leader of a process group in the session of its steward, who is its parent and that of its orphans."""

    def __init__(self, connection: socket.socket, forked: Forked) -> None:
        """Raises OSError when it is gone already."""
        self.who = forked.launcher
        self.steward = forked.steward
        self._descriptor = os.pidfd_open(self.who.pid)
        self._stewards = os.pidfd_open(self.steward.pid)
        if not (processes.alive(self.who) and processes.alive(self.steward)):
            raise ProcessLookupError("the forked process is gone")
        connection.setblocking(False)
        self._connection = connection
        self._end: asyncio.Task[int] | None = None

    def go(self) -> None:
        """Let it begin."""
        with suppress(OSError):  # its end tells
            self._connection.send(messages.GO)

    def ask_to_stop(self) -> None:
        """SIGTERM to the launcher alone."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for the launcher; its exit code, negative for a signal."""
        if self._end is None:
            self._end = asyncio.create_task(self._wait())
        return await asyncio.shield(self._end)

    async def _wait(self) -> int:
        await processes.ended_by(self._descriptor)
        with suppress(OSError, TimeoutError, ValidationError):
            async with asyncio.timeout(TELL_S):
                said = await asyncio.get_running_loop().sock_recv(self._connection, messages.LARGEST_BYTES)
            return Ended.model_validate_json(said).exit_code
        assert self.steward
        processes.send(self.steward, signal.SIGKILL)
        return -signal.SIGKILL  # its steward was killed, and it with him

    async def end_group(self) -> None:
        """SIGKILL the launcher and all that it started, and return when nothing is left of it, nor of the steward."""
        await super().end_group()
        await self.ended()
        self._connection.close()
        assert self.steward
        await processes.ended(
            self.steward.pid
        )  # its number is its own: nobody but its parent reaps it, when it is gone

    def _left(self) -> list[int]:
        assert self.steward
        leader = self.steward.pid
        return [each.pid for each in processes.every_process() if each.alive and self._is_of_it(each, leader)]

    def _is_of_it(self, each: processes.Stat, leader: int) -> bool:
        return each.session == leader != each.pid or each.parent == leader
