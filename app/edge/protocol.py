"""What stands before HTTP is understood: uvicorn's protocol with bounds that it lacks, and refusals like all others.

uvicorn reads a head of any length for as long as it takes, and says "Invalid HTTP request" as plain text. Here a head
has at most `HEAD_BYTES` and `head_s`, a body may pause for `body_pause_s`, and what cannot be read is a problem.
"""

import asyncio
from http import HTTPStatus
from urllib.parse import urlsplit

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.edge.bodies import is_upload
from app.errors import BadRequest, TrainyardError
from app.problems import rendered

HEAD_BYTES = 65_536
"""Request line, headers and trailers. The longest that a client has reason to send is a label filter of some kB."""


class HeadTooLarge(TrainyardError):
    """The address and the headers are longer than this service reads. Send fewer or shorter ones: 64 KiB in all."""

    status = 431
    slug = "head-too-large"


class TooSlow(TrainyardError):
    """The request did not arrive in time. Send it again, without pauses."""

    status = 408
    slug = "too-slow"


class Protocol(HttpToolsProtocol):
    """One connection."""

    head_s = 30.0
    body_pause_s = 60.0
    request_s = 600.0  # all of it: the longest, of 64 MiB, at 1 Mbit/s; a client that dribbles is not heard for ever
    upload_s = 86_400.0  # the same for an archive: 64 GiB at 6 Mbit/s

    _deadline = float("inf")
    _reading: str | None = "head"  # which part of a request is awaited; None: it is all there
    _head_bytes = 0
    _refusal: TrainyardError | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A request must follow soon."""
        super().connection_made(transport)
        self._await("head", self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        self._await(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes that belong to a head are counted here too: the parser gathers a header before it shows any of it."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._reading == "head":
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HeadTooLarge())
        elif self._reading == "body":
            self._await("body", self.body_pause_s)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_bytes = 0
        self._deadline = self.loop.time() + self.request_s
        self._await("head", self.head_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. A trailer behind the body is counted and dropped: uvicorn would make a header of it."""
        if self._reading == "head":
            super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        self._check_head()

    def on_headers_complete(self) -> None:
        """The head is there: refuse what another server on the way may have understood otherwise."""
        self._head_bytes = sum(len(name) + len(value) for name, value in self.headers) + len(self.url)
        self._check_head()
        host = dict(self.headers).get(b"host", b"")
        if not self.url.startswith((b"/", b"*")) and urlsplit(self.url).netloc.lower() != host.lower():
            self._raise(BadRequest("The address names another host than the Host header. Send one and the same."))
        self._await("body", self.body_pause_s)
        super().on_headers_complete()
        if is_upload(self.scope["method"], self.scope.get("path", "")):
            self._deadline += self.upload_s - self.request_s

    def on_message_complete(self) -> None:
        """All of it was read."""
        self._await(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer that did not wait for all of the body: what still comes is dropped, but not for ever."""
        super().on_response_complete()
        if self._reading == "body" and not self.transport.is_closing():
            self._deadline = min(self._deadline, self.loop.time() + self.body_pause_s)
            self._await("body", self.body_pause_s)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's word for bytes that are no HTTP, and for what the callbacks above refused."""
        self._refuse(self._refusal or BadRequest("This is no HTTP request that can be read. Look at its first lines."))

    def _check_head(self) -> None:
        if self._head_bytes > HEAD_BYTES:
            self._raise(HeadTooLarge())

    def _raise(self, error: TrainyardError) -> None:
        """End the parsing: the parser hands every exception on as one of its own, and uvicorn then answers."""
        self._refusal = error
        raise error

    def _refuse(self, error: TrainyardError) -> None:
        cycle = self.cycle
        is_open = self._reading == "body" or (cycle is not None and not cycle.response_complete)
        is_answered = is_open and cycle is not None and cycle.response_started
        self._await(None)
        if not is_answered:  # else an answer is cut short, or a second one follows it
            self.transport.write(_as_bytes(error))
        if cycle is not None:  # nobody hears the app any more, and no more of the body comes
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _await(self, part: str | None, seconds: float = 0.0) -> None:
        self._reading = part
        if self._timer is not None:
            self._timer.cancel()
        left_s = min(seconds, self._deadline - self.loop.time())
        self._timer = self.loop.call_later(left_s, self._too_slow) if part else None

    def _too_slow(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        if self._reading == "head" and busy:  # nothing is read while an earlier request is being answered
            self._await("head", self.head_s)
        elif self.flow.read_paused and self.loop.time() < self._deadline:  # nor while a disk takes what came
            self._await(self._reading, self.body_pause_s)
        else:
            self._refuse(TooSlow())


def _as_bytes(error: TrainyardError) -> bytes:
    answer = rendered(error, {"type": "http", "path": "", "headers": []})
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
    headers = [b"%s: %s\r\n" % each for each in answer.raw_headers if each[0] != b"connection"]
    return b"".join([status, *headers, b"connection: close\r\n\r\n", bytes(answer.body)])
