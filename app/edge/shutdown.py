"""A server that stops waits for its open answers, and a stream is open for ever: so streams are ended first.

uvicorn waits for connections before it runs the lifespan's end, which is too late to tell them. Its signal handlers are
in place when the lifespan begins; ours goes in front of them.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from app.changes import Changes


@contextmanager
def streams_end_first(changes: Changes) -> Iterator[None]:
    """While this lasts, SIGTERM and SIGINT end all streams and long polls before the server's own handler runs.

    Only the main thread may handle signals: a server in another thread closes `changes` itself.
    """
    is_main = threading.current_thread() is threading.main_thread()
    undo = [_put_in_front(number, changes) for number in (signal.SIGTERM, signal.SIGINT)] if is_main else []
    try:
        yield
    finally:
        changes.close()
        for each in undo:
            each()


def _put_in_front(number: signal.Signals, changes: Changes) -> Callable[[], None]:
    loop = asyncio.get_running_loop()
    before = signal.getsignal(number)

    def handle(received: int, frame: FrameType | None) -> None:
        # Not from within the handler: it may have interrupted someone who holds the lock of `changes`.
        loop.call_soon_threadsafe(changes.close)
        if callable(before):
            before(received, frame)

    if not callable(before):
        return lambda: None  # the default action ends the process at once, streams and all
    signal.signal(number, handle)

    def undo() -> None:
        if signal.getsignal(number) is handle:
            signal.signal(number, before)

    return undo
