"""HEAD is what GET would answer, without the body: whoever has the one has the other, and no route knows of it."""

from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _HeadersOut(Exception):
    """Ends the work on an answer whose body nobody wants; a stream would never end by itself."""


class Heads:
    """Lets GET answer a HEAD request, up to its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def only_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                raise _HeadersOut

        inner = {**scope, "method": "GET"}  # a copy: the server must go on knowing that no body follows
        try:
            with suppress(_HeadersOut):
                await self._app(inner, receive, only_headers)
        finally:
            scope.update(inner | {"method": "HEAD"})  # the layers around this one read the route from the scope
