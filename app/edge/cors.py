"""CORS for the origins of a setting, and for no other; by default for none."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Forbidden
from app.problems import rendered

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SENT = (
    "Authorization",
    "Content-Digest",
    "Content-Type",
    "Digest",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "traceparent",
    "X-Request-Id",
)
READ = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-Next-Cursor",
    "X-Request-Id",
)


class Cors(CORSMiddleware):
    """Starlette's, with its refusals as problem documents."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        super().__init__(
            app,
            allow_origins=sorted(origins),
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=READ,
            max_age=600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers preflights; adds the headers to all else."""
        if scope["type"] == "http" and _is_preflight(scope):
            answer = self.preflight_response(request_headers=Headers(scope=scope))
            await (answer if answer.status_code < 400 else _refusal(answer, scope))(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _is_preflight(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return scope["method"] == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _refusal(answer: Response, scope: Scope) -> Response:
    return rendered(Forbidden(f"{bytes(answer.body).decode()}. TRAINYARD_CORS_ORIGINS names who may ask."), scope)
