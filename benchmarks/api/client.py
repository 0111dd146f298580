"""A lean HTTP client: a few kept connections, one request at a time on each, all in one thread.

It costs about 15 µs of CPU a request. httpx costs more than the service that it would measure.
"""

import json
import re
import selectors
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EMPTY = (204, 304)
RECEIVE_BYTES = 1 << 20
TIMEOUT_S = 60.0


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """The bytes of one request. `body` is JSON; header names are given with `_` for `-`."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if method not in ("GET", "HEAD"):
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


@dataclass
class Measured:
    """A round of requests: how long each took, what it was answered, and how long all of them took."""

    wall_s: float = 0.0
    times_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    last_body: bytes = b""

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return len(self.times_s) / self.wall_s

    @property
    def p50_s(self) -> float:
        """The time of the median request."""
        return statistics.median(self.times_s)

    @property
    def p95_s(self) -> float:
        """95 of 100 requests took no longer."""
        return sorted(self.times_s)[max(0, round(0.95 * len(self.times_s)) - 1)]

    def expect(self, *statuses: int) -> "Measured":
        """This round, or an end of the benchmark: a refused request is fast and means nothing."""
        if set(self.statuses) - set(statuses):
            raise SystemExit(f"benchmarks api: answers {dict(self.statuses)}: {self.last_body[:500]!r}")
        return self


class _Connection:
    """One kept connection with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pieces: list[bytes] = []
        self._missing = -1  # bytes; -1 before the head is whole
        self.status = 0
        self.sent_at = 0.0

    def send(self, sent: bytes) -> None:
        """Begin a request."""
        self._pieces, self._missing = [], -1
        self.sent_at = time.perf_counter()
        self.socket.sendall(sent)

    def receive(self) -> bytes | None:
        """Read what is there; the body when the answer is whole."""
        piece = self.socket.recv(RECEIVE_BYTES)
        if not piece:
            raise SystemExit("benchmarks api: the server closed a connection")
        self._pieces.append(piece)
        if self._missing < 0:
            self._read_head()
        else:
            self._missing -= len(piece)
        return b"".join(self._pieces).partition(b"\r\n\r\n")[2] if self._missing == 0 else None

    def _read_head(self) -> None:
        so_far = b"".join(self._pieces)
        end = so_far.find(b"\r\n\r\n")
        if end < 0:
            return
        self.status = int(so_far[9:12])
        length = _LENGTH.search(so_far, 0, end)
        whole = end + 4 + (int(length[1]) if length and self.status not in _EMPTY else 0)
        self._missing = whole - len(so_far)


def ask(port: int, sent: bytes, *statuses: int) -> Any:
    """One request, its answer as JSON; None when it has no body."""
    measured = run(port, [sent], connections=1).expect(*(statuses or (200, 201, 202)))
    return json.loads(measured.last_body) if measured.last_body else None


def run(port: int, requests: Iterable[bytes], connections: int = 8) -> Measured:
    """Send all requests, each as soon as a connection is free. The connections are opened before the clock starts."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        opened = [_Connection(port) for _ in range(connections)]
        for each in opened:
            stack.callback(each.socket.close)
            selector.register(each.socket, selectors.EVENT_READ, each)
        return _sent(opened, iter(requests), selector)


def _sent(connections: list[_Connection], waiting: Iterator[bytes], selector: selectors.BaseSelector) -> Measured:
    measured = Measured()
    start = time.perf_counter()
    open_requests = sum(_send_next(each, waiting) for each in connections)
    while open_requests:
        for key, _ in selector.select(TIMEOUT_S):
            body = key.data.receive()
            if body is not None:
                measured.times_s.append(time.perf_counter() - key.data.sent_at)
                measured.statuses[key.data.status] += 1
                measured.last_body = body
                open_requests -= not _send_next(key.data, waiting)
    measured.wall_s = time.perf_counter() - start
    return measured


def _send_next(connection: _Connection, waiting: Iterator[bytes]) -> bool:
    following = next(waiting, None)
    if following is not None:
        connection.send(following)
    return following is not None
