"""What each request is known by: its id, its trace, one log line when it is over, and its time in the measures."""

import re
import secrets
from time import perf_counter

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.edge import trace
from app.edge.measures import HttpMeasures

log = structlog.get_logger("trainyard.requests")

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
        answer = _Answer(scope, send)
        with structlog.contextvars.bound_contextvars(**_identified(scope)):
            try:
                await self._app(scope, receive, answer.send)
            finally:
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


def _identified(scope: Scope) -> dict[str, str]:
    """Give the request its ids, and say them as the fields that every log line within it carries."""
    headers = Headers(scope=scope)
    given = headers.get("x-request-id", "")
    state = scope.setdefault("state", {})
    state["request_id"] = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(10)}"
    state["traceparent"] = trace.continued(headers.get("traceparent"))
    return {"request_id": state["request_id"], "trace_id": trace.trace_id(state["traceparent"])}


def _log(scope: Scope, answer: _Answer) -> None:
    quiet = scope["path"].startswith(QUIET) and answer.status < 500
    (log.debug if quiet else log.info)(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=answer.status,
        duration_s=round(answer.elapsed_s, 4),
        **({"key": scope["state"]["key_id"]} if "key_id" in scope["state"] else {}),
        **scope.get("path_params", {}),
    )
