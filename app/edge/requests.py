"""What each request is known by: its id, its trace, one log line when it is over, and its time in the measures."""

import logging
import re
import secrets
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict

from app.edge import trace
from app.edge.measures import HttpMeasures

log = logging.getLogger("trainyard.requests")
_RECORD = {
    level: {"name": log.name, "levelno": level, "levelname": logging.getLevelName(level), "msg": "request"}
    for level in (logging.DEBUG, logging.INFO)
}
_CURRENT: ContextVar[Scope | None] = ContextVar("request", default=None)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
QUIET = ("/healthz", "/readyz", "/metrics", "/internal/v1/")
"""Asked for by machines every few seconds: logged at debug level, unless they fail."""


def request_id(scope: Scope) -> str:
    """The id of this request, as answered in `X-Request-Id`."""
    return str(scope["state"]["request_id"])


class Requests:
    """The outermost layer: everything else happens inside an identified, traced, measured request."""

    def __init__(self, app: ASGIApp, measures: HttpMeasures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _identify(scope)
        answer = _Answer(scope, send)
        token = _CURRENT.set(scope)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            _CURRENT.reset(token)
            self._measures.observe(scope, answer.status, answer.began_s)
            _log(scope, answer)


class _Answer:
    """Watches the answer go out and puts the request id on it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._start = perf_counter()
        self.status = 499  # what proxies log when the client went away before an answer
        self.began_s = 0.0

    @property
    def elapsed_s(self) -> float:
        return perf_counter() - self._start

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.began_s = self.elapsed_s
            MutableHeaders(scope=message)["X-Request-Id"] = request_id(self._scope)
        await self._send(message)


def of_current_request(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A processor of structlog: every line that is logged within a request carries what it is known by."""
    scope = _CURRENT.get()
    return event if scope is None else {**event, **_ids(scope)}


def _identify(scope: Scope) -> None:
    headers = Headers(scope=scope)
    given = headers.get("x-request-id", "")
    state = scope.setdefault("state", {})
    state["request_id"] = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(10)}"
    state["traceparent"] = trace.continued(headers.get("traceparent"))


def _ids(scope: Scope) -> dict[str, Any]:
    state = scope["state"]
    ids = {"request_id": state["request_id"], "trace_id": trace.trace_id(state["traceparent"])}
    key = {"key": state["key_id"]} if "key_id" in state else {}
    return {**scope.get("path_params", {}), **key, **ids}


def _log(scope: Scope, answer: _Answer) -> None:
    quiet = scope["path"].startswith(QUIET) and answer.status < 500
    level = logging.DEBUG if quiet else logging.INFO
    if log.isEnabledFor(level):
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "status": answer.status,
            "duration_s": round(answer.elapsed_s, 4),
            **_ids(scope),
        }
        # not log.log(): to search the stack for the caller's line takes longer than to write this one
        log.handle(logging.makeLogRecord(_RECORD[level] | {"fields": fields}))
