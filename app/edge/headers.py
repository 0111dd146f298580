"""Headers that go out with every answer: a browser takes what we send for what we say it is, and runs none of it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


_ALWAYS = [(name.lower().encode(), value.encode()) for name, value in ALWAYS.items()]
_POLICY = b"content-security-policy"
_BESIDE_POLICY = [(name, value) for name, value in _ALWAYS if name != _POLICY]
_FRESH = (b"cache-control", b"no-cache")


class SafeHeaders:
    """Adds `ALWAYS`, but no policy to an answer that brings its own, and keeps caches from guessing a lifetime."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                # as raw pairs: MutableHeaders searches all of them for each that it sets, 15 µs an answer
                names = {name for name, _ in message["headers"]}
                said = [*message["headers"], *(_ALWAYS if _POLICY not in names else _BESIDE_POLICY)]
                message["headers"] = said if b"cache-control" in names else [*said, _FRESH]
            await send(message)

        await self._app(scope, receive, with_headers)
