"""The process between the warm parent and one run: what its supervisor would be to a run that it started itself.

It leads the session, is the parent of the launcher and of every orphan of the run, tells the supervisor how the
launcher ended, and ends the run when the supervisor is gone. Neither the parent's death nor the worker's touches it.
"""

import os
import select
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from app.contract.faults import Point, reach
from worker import processes
from worker.training.processes import die_with
from worker.warm import messages, title
from worker.warm.messages import Ask, Declined, Ended, Forked


def tend(connection: socket.socket, ask: Ask, program: Callable[[list[str]], int]) -> NoReturn:
    """Fork the launcher and look after it until nothing of the run is left. Call it in a process just forked."""
    code = 1
    try:
        connection.settimeout(None)
        launcher, gate = _prepared(connection, ask, program)
        _look_after(connection, launcher, gate)
        code = 0
    except (OSError, ValueError) as error:
        with suppress(OSError):
            connection.send(Declined(reason=str(error)).model_dump_json().encode())
    except BaseException:  # noqa: BLE001  (nothing may climb into the parent's code)
        traceback.print_exc()
    finally:
        os._exit(code)


def _prepared(connection: socket.socket, ask: Ask, program: Callable[[list[str]], int]) -> tuple[int, int]:
    """The launcher, which waits for a byte through the gate, and the gate. Raises OSError, ValueError."""
    os.setsid()
    title.show([sys.executable, "-m", "worker.warm.steward", *ask.arguments])
    processes.adopt_orphans()
    ask.surroundings.take_over()
    _write_to(ask.output)
    inside, gate = os.pipe()
    steward = os.getpid()
    launcher = os.fork()
    if launcher == 0:
        _be_launcher(steward, (gate, connection.fileno()), inside, ask, program)
    with suppress(ProcessLookupError, PermissionError):  # it does so itself too: whoever comes first
        os.setpgid(launcher, launcher)
    os.close(inside)
    return launcher, gate


def _write_to(output: str) -> None:
    """Standard input from nowhere, the others to the end of a file."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((nowhere, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nowhere)
    os.close(log)


def _be_launcher(
    steward: int, closing: tuple[int, ...], inside: int, ask: Ask, program: Callable[[list[str]], int]
) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        die_with(steward)
        title.show([*ask.command, *ask.arguments])
        for descriptor in closing:
            os.close(descriptor)
        if os.read(inside, 1):  # nothing: the steward is gone, or has been told to give up
            os.close(inside)
            code = _run(ask, program)
    except BaseException:  # noqa: BLE001  (nothing may climb into the steward's code)
        with suppress(OSError):  # the disk may be full
            traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)


def _run(ask: Ask, program: Callable[[list[str]], int]) -> int:
    """As a fresh interpreter would: with an environment and arguments of its own."""
    os.environ.clear()
    os.environ.update(ask.environment)
    sys.argv[1:] = ask.arguments
    try:
        return program(ask.arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _look_after(connection: socket.socket, launcher: int, gate: int) -> None:
    reach(Point.FORKED_BEFORE_TOLD)
    me, found = processes.identity(os.getpid()), processes.identity(launcher)
    connection.send(Forked(steward=me, launcher=found).model_dump_json().encode())
    if connection.recv(len(messages.GO)) != messages.GO:
        return _end_all(launcher)
    os.write(gate, messages.GO[:1])
    os.close(gate)
    return _until_left(connection, launcher)


def _until_left(connection: socket.socket, launcher: int) -> None:
    """Tell how the launcher ended, and stay until the supervisor has no more use for us: its orphans come to us."""
    descriptor = os.pidfd_open(launcher)
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    waiting.register(descriptor, select.POLLIN)
    while True:
        ready = {number for number, _ in waiting.poll()}
        if connection.fileno() in ready and not _said(connection):
            return _end_all(launcher)
        if descriptor in ready:
            waiting.unregister(descriptor)
            _, status = os.waitpid(launcher, 0)
            with suppress(OSError):
                connection.send(Ended(exit_code=os.waitstatus_to_exitcode(status)).model_dump_json().encode())


def _said(connection: socket.socket) -> bytes:
    try:
        return connection.recv(messages.LARGEST_BYTES)
    except OSError:
        return b""


def _end_all(launcher: int) -> None:
    """Nothing of the run may live on: neither its group nor what left it."""
    while left := [each for each in processes.every_process() if _ours(each, launcher)]:
        processes.kill([each.pid for each in left])
        time.sleep(processes.POLL_S)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _ours(each: processes.Stat, launcher: int) -> bool:
    me = os.getpid()  # our session: a group's number alone may be another's when the launcher is gone
    return each.alive and ((each.group == launcher and each.session == me) or each.parent == me)
