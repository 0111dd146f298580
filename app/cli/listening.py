"""The socket on which the API listens. Whether it may be one that others can reach is said in `exposure`."""

import errno
import ipaddress
import socket

from app.cli.exits import CommandFailed

BACKLOG = 1024
STALLED_S = 30.0
"""A client that takes nothing of what waits for it for so long has its connection cut by the kernel: no program of ours
sees that a peer does not read, and what was written for it would stay in memory."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `PortTaken`, or `CommandFailed` for an address not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port) from None
        raise CommandFailed(f"cannot listen on {host} port {port}: {error.strerror}.") from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; every accepted connection inherits it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * STALLED_S))
    return listener


class PortTaken(CommandFailed):
    """Another program listens there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} of {host} is taken by another program: give another --port (0: a free one).")


def url_of(listening: socket.socket) -> str:
    """The base URL of what listens there, for programs of this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. A name but `localhost` may mean any address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
