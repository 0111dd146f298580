"""Whom the service answers: requests for a name that is ours, and changes only from pages that may make them.

The host check defeats DNS rebinding (a foreign name that resolves to 127.0.0.1), the origin check cross-site posts.
"""

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import BadRequest, Forbidden
from app.problems import rendered

OWN_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Hosts:
    """Refuses (400) a `Host` that is neither this machine's own nor in the setting; any port will do.

    The very address that was connected to is its own too: no foreign name has brought the client here.
    A header that is there twice is refused too: a proxy in front of us may have believed the other.
    """

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allowed = OWN_NAMES | {name.lower() for name in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_ours(scope):
            error = BadRequest("This host name is not served here. Add it to TRAINYARD_ALLOWED_HOSTS if it should be.")
            await rendered(error, scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        names = [host_name(each) for each in Headers(scope=scope).getlist("host")]
        if len(names) != 1 or not names[0]:
            return False
        return names[0] in self._allowed or names[0] == _address(scope.get("server"))


class Origins:
    """Refuses (403) a change that a page of a foreign origin asks for."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allowed = {origin.rstrip("/").lower() for origin in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS and self._is_foreign(Headers(scope=scope)):
            error = Forbidden(
                "Pages of this origin may change nothing here. TRAINYARD_CORS_ORIGINS names those that may."
            )
            await rendered(error, scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_foreign(self, headers: Headers) -> bool:
        origin = headers.get("origin", "").lower()
        if not origin or origin in self._allowed:
            return False
        # The scheme is left out: behind a proxy that ends TLS, the page is https and the request to us is http.
        return urlsplit(origin).netloc != headers.get("host", "").lower()


def _address(server: tuple[str, int | None] | None) -> str | None:
    """The IP address at this end of the connection."""
    try:
        return str(ipaddress.ip_address(server[0])) if server else None
    except ValueError:
        return None


@lru_cache(maxsize=64)
def host_name(host: str) -> str:
    """The name in a `Host` header, lower-case, without port and brackets; empty when it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "").lower() if parts.netloc == host and "@" not in host else ""
