"""Server-Sent Events: how they are asked for, written, kept alive and ended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.changes import Changes

P = ParamSpec("P")
T = TypeVar("T")

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


Look = Callable[[], Awaitable[Batch]]
NOTHING = Batch([], more=False, over=False)


class SharedReads:
    """One read for all who ask the same at the same time: the ten streams of a job wake together, at the same place.

    Only a read that still runs is shared, and only between two changes, so nobody is told less than there is.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._running: dict[Hashable, asyncio.Task[Any]] = {}

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)`, in a thread. Arguments must be hashable."""
        key = (asyncio.get_running_loop(), self._changes.generation, function, args)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(run_in_threadpool(function, *args, **kwargs))
            self._running[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        result: T = await asyncio.shield(task)  # whoever began it may leave
        return result

    def _forget(self, key: Hashable, task: "asyncio.Task[Any]") -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # said to all who wait; nobody may


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


async def follow(look: Look, changes: Changes, name: str, heartbeat_s: float = HEARTBEAT_S) -> AsyncIterator[bytes]:
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
