"""What supervisor, parent and steward say to each other: a JSON message a packet, over a socket of the worker's user.

supervisor -> parent: `Ask`. Steward -> supervisor: `Forked`, or `Declined` with a reason to start cold. Supervisor ->
steward: `GO`, when the record names the run. Steward -> supervisor: `Ended`. A socket that closes says that the other
side is gone: the supervisor then knows that the run is, and the steward ends it.
"""

import hashlib
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from worker.processes import Identity
from worker.warm.surroundings import Surroundings

GO = b"go"
PING = b"ping"
PONG = b"pong"
LARGEST_BYTES = 1 << 17
_CREDENTIALS = struct.Struct("3i")  # struct ucred of <sys/socket.h>: pid, uid, gid


class Ask(BaseModel):
    """A run. `command` is shown as its command line, `output` takes what it prints, `environment` is all of it, and

    `surroundings` what else it would inherit from its supervisor.
    """

    command: list[str]
    arguments: list[str]
    environment: dict[str, str]
    output: str
    surroundings: Surroundings


class Forked(BaseModel):
    """The run is there and waits for `GO`; `launcher` leads its group, `steward` the session."""

    kind: Literal["forked"] = "forked"
    steward: Identity
    launcher: Identity


class Declined(BaseModel):
    """Nothing was forked."""

    kind: Literal["declined"] = "declined"
    reason: str


class Ended(BaseModel):
    """Of the launcher; negative for a signal."""

    exit_code: int


ANSWER: TypeAdapter[Forked | Declined] = TypeAdapter(Annotated[Forked | Declined, Field(discriminator="kind")])


def address(run_dir: Path, worker: str) -> Path:
    """Where the parent of that worker listens; a name of any length becomes one that a socket may have."""
    return run_dir / "warm" / f"{hashlib.sha256(worker.encode()).hexdigest()[:12]}.sock"


def connect(path: Path, timeout_s: float) -> socket.socket:
    """A connection to the process that listens there. Raises OSError when there is none, or it is another user's."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(timeout_s)
        with _short(path) as name:
            connection.connect(name)
        refuse_strangers(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def listen(path: Path) -> socket.socket:
    """A socket for this user alone, at once in the place of an older one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        with _short(draft) as name:
            listener.bind(name)
    finally:
        os.umask(before)
    listener.listen(64)
    listener.setblocking(False)
    draft.replace(path)
    return listener


def refuse_strangers(connection: socket.socket) -> None:
    """Raise PermissionError when the process at the other end is another user's."""
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(said)
    if user != os.geteuid():
        raise PermissionError(f"the other end of the socket belongs to user {user}")


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of at most 108 bytes, which is all that a socket's address holds, for a path of any length."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
