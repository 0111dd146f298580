"""Who may speak to the service: whoever comes over loopback, unless keys are required; everybody else with a key.

What a proxy says of its client counts for nothing here: the address that counts is the one that was connected to.
"""

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from time import monotonic

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.contract.keys import Scope as KeyScope
from app.edge.guards import SAFE_METHODS
from app.errors import TrainyardError, Unauthorized
from app.problems import rendered

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""For load balancers and the like; they say nothing of jobs."""

WORKERS_DOOR = "/internal/v1/"
"""Has its own credentials."""

LOOK_AGAIN_S = 5.0
"""How long a stream or a long poll may go on saying things on the strength of one look at its key."""

Admit = Callable[[str, KeyScope], str]


class Keys:
    """Answers 401 without a key that is good, 403 when it is not good for this.

    Where no key is required, one of ours that is shown must be good all the same; other credentials are a proxy's.
    """

    def __init__(self, app: ASGIApp, admit: Admit, prefix: str, required: bool) -> None:
        self._app = app
        self._admit = admit
        self._prefix = prefix
        self._required = required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or scope["path"].startswith(WORKERS_DOOR):
            await self._app(scope, receive, send)
            return
        key = shown_key(scope)
        if self._required or is_from_elsewhere(scope) or (key or "").startswith(self._prefix):
            await _Admitted(self._admit, key, scope, send).run(self._app, receive)
        else:
            await self._app(scope, receive, send)


class _Ended(Exception):
    """Stops the work on an answer whose key is no longer good."""


class _Admitted:
    """One request with a key, which is looked at again while the answer goes on."""

    def __init__(self, admit: Admit, key: str | None, scope: Scope, send: Send) -> None:
        self._admit = admit
        self._key = key
        self._scope = scope
        self._send = send
        self._looked_at = 0.0
        self._is_stream = False

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        try:
            await self._look()
        except TrainyardError as refusal:
            await rendered(refusal, self._scope)(self._scope, receive, self._send)
            return
        with suppress(_Ended):
            await app(self._scope, receive, self._say)

    async def _look(self) -> None:
        if not self._key:
            raise Unauthorized
        needs = KeyScope.READ if self._scope["method"] in SAFE_METHODS else KeyScope.WRITE
        key_id = await run_in_threadpool(self._admit, self._key, needs)
        self._scope["state"]["key_id"] = key_id
        self._looked_at = monotonic()

    async def _say(self, message: Message) -> None:
        begins = message["type"] == "http.response.start"
        if begins:
            self._is_stream = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
        if (begins or self._is_stream) and monotonic() - self._looked_at > LOOK_AGAIN_S:
            await self._look_again(begins)
        await self._send(message)

    async def _look_again(self, begins: bool) -> None:
        """Of a revoked key nothing more is told: a long poll ends with the refusal, a stream just ends."""
        try:
            await self._look()
        except TrainyardError as refusal:
            if begins:
                await rendered(refusal, self._scope)(self._scope, _nothing, self._send)
            else:
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            raise _Ended from refusal


def shown_key(scope: Scope) -> str | None:
    """The key of `Authorization: Bearer KEY`."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def is_from_elsewhere(scope: Scope) -> bool:
    """Whether the connection came in by an address that other machines can reach."""
    server = scope.get("server")
    return server is not None and not _is_own(server[0])


@lru_cache(maxsize=64)
def _is_own(address: str) -> bool:
    """Loopback, a Unix socket, or the name under which an app is called in its own process."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
