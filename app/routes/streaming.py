"""Server-Sent Events: how they are asked for, written, kept alive and ended."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from starlette.responses import StreamingResponse

from app.changes import Changes

EVENT_STREAM = "text/event-stream"
HEARTBEAT_S = 15.0
"""Proxies cut connections that are silent for a minute or less."""

RETRY_MS = 2000
"""After a break, browsers wait so long before they come back with `Last-Event-ID`."""


@dataclass(frozen=True)
class Batch:
    """What one look at the source found. `more`: look again at once; `over`: nothing can follow."""

    messages: list[bytes]
    more: bool
    over: bool


def message(event: str, data: str, event_id: str | None = None) -> bytes:
    """One event. `data` is JSON on one line, so it needs no splitting."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {event}\ndata: {data}\n\n".encode()


def accepts(header: str | None, media_type: str) -> float:
    """The weight (0 to 1) that an `Accept` header gives to a media type by its full name; 0 when it is not named."""
    for part in (header or "").lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        if name == media_type:
            weights = [each.removeprefix("q=") for each in parameters if each.startswith("q=")]
            return _weight(weights[0]) if weights else 1.0
    return 0.0


def wants_stream(accept: str | None) -> bool:
    """Whether events are to be streamed: only when asked for by name, and not behind JSON."""
    weight = accepts(accept, EVENT_STREAM)
    return weight > 0 and weight >= accepts(accept, "application/json")


def stream(messages: AsyncIterator[bytes]) -> StreamingResponse:
    """The answer that carries the events."""
    return StreamingResponse(
        messages, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


async def follow(
    look: Callable[[], Awaitable[Batch]], changes: Changes, name: str, heartbeat_s: float = HEARTBEAT_S
) -> AsyncIterator[bytes]:
    """Everything that `look` finds, until it says that all is over or the server stops.

    Between two looks it holds no thread and no session; it looks again when `name` changes, and every second. A client
    that went away cancels it at its next pause.
    """
    spoke_at = monotonic()
    with changes.watch(name) as watch:
        yield f"retry: {RETRY_MS}\n\n".encode()
        while not changes.closed:
            batch = await look()
            for each in batch.messages:
                yield each
            if batch.over:
                return
            if batch.messages or monotonic() - spoke_at >= heartbeat_s:
                if not batch.messages:
                    yield b": heartbeat\n\n"
                spoke_at = monotonic()
            if not batch.more:
                await watch.wait()


def _weight(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
