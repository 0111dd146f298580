"""How long the HTTP server has patience with a connection: a client that dribbles must not hold it for ever.

A client that does not read is the kernel's to end (`listening.STALLED_S`); one that is answered and says nothing more,
uvicorn's.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_S = 60.0
"""From a connection's or a request's first byte to the request's last. The longest, of 64 MiB, needs 9 Mbit/s."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's, with an end to requests that never become whole."""

    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The clock runs from here: a connection may also say nothing at all."""
        super().connection_made(transport)
        self._start_clock()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._start_clock()

    def on_message_complete(self) -> None:
        """It is whole."""
        self._stop_clock()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._stop_clock()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(REQUEST_S, self._lose_patience)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _lose_patience(self) -> None:
        self.transport.abort()
