"""No body is read beyond its limit: a declared length is refused before its first byte, a chunked one on the way."""

import re
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import PayloadTooLarge
from app.problems import rendered

INTERNAL_BODY_BYTES = 64 * 2**20
"""The worker's door takes batches of 5,000 events; only workers pass it."""


UPLOADS = re.compile(r"/v1/datasets/[^/]+/archive")


def is_upload(method: str, path: str) -> bool:
    """Whether the body is a whole archive: read as it comes, for as long as it takes, and never held in memory."""
    return method == "PUT" and UPLOADS.fullmatch(path) is not None


class _TooLarge(Exception):
    """Ends the reading; answered by `BodyLimit`, whatever the layers between make of it."""


class BodyLimit:
    """Answers 413 to a request whose body is longer than `limit_bytes`, or `archive_bytes` for an upload."""

    def __init__(self, app: ASGIApp, limit_bytes: int, archive_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._archive_bytes = archive_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit_bytes = self._limit_of(scope)
        if _declared_bytes(scope) > limit_bytes:
            await _refuse(scope, receive, send, limit_bytes)
        else:
            await _Counted(receive, send, limit_bytes).run(self._app, scope)

    def _limit_of(self, scope: Scope) -> int:
        if is_upload(scope["method"], scope["path"]):
            return self._archive_bytes
        return INTERNAL_BODY_BYTES if scope["path"].startswith("/internal/") else self._limit_bytes


class _Counted:
    """One request whose body is counted as it comes in. Once it is too long, the app's own answer is held back."""

    def __init__(self, receive: Receive, send: Send, limit_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._limit_bytes = limit_bytes
        self._seen_bytes = 0
        self._started = False

    @property
    def _exceeded(self) -> bool:
        return self._seen_bytes > self._limit_bytes

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        with suppress(_TooLarge):
            await app(scope, self._read, self._answer)
        if self._exceeded and not self._started:
            await _refuse(scope, self._receive, self._send, self._limit_bytes)

    async def _read(self) -> Message:
        message = await self._receive()
        self._seen_bytes += len(message.get("body", b""))
        if self._exceeded:
            raise _TooLarge
        return message

    async def _answer(self, message: Message) -> None:
        if self._exceeded and not self._started:
            return
        self._started = True
        await self._send(message)


def _declared_bytes(scope: Scope) -> int:
    declared = Headers(scope=scope).get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() and len(declared) < 20 else 0


async def _refuse(scope: Scope, receive: Receive, send: Send, limit_bytes: int) -> None:
    setting = "TRAINYARD_MAX_ARCHIVE_BYTES" if is_upload(scope["method"], scope["path"]) else "TRAINYARD_MAX_BODY_BYTES"
    error = PayloadTooLarge(f"The body is larger than the {limit_bytes} bytes that this service reads ({setting}).")
    await rendered(error, scope)(scope, receive, send)
