"""Wake-ups inside this process: a write says which jobs it touched, and the long polls and streams on them look again.

A hint, never a truth: a waiter re-reads the database when it is woken, and at least once a second all the same, since
another replica's writes wake nobody here.
"""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

RECHECK_S = 1.0
"""The longest that a waiter sleeps before it looks again."""

EVERY_JOB = "*"
"""Watch this to be woken by any change."""


class Watch:
    """One waiter. Made before the first read, so that a change between read and wait is not missed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    async def wait(self, timeout_s: float = RECHECK_S) -> bool:
        """Sleep until something changed (True) or the time is over (False); at most `RECHECK_S`."""
        try:
            await asyncio.wait_for(self._changed.wait(), min(timeout_s, RECHECK_S))
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def notify(self) -> None:
        """Wake the waiter, from any thread."""
        with suppress(RuntimeError):  # its event loop is closed, so nobody waits any more
            self._loop.call_soon_threadsafe(self._changed.set)


class Changes:
    """Who waits for what. Thread-safe; one instance an app."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[str, set[Watch]] = {}
        self._closed = False
        self._generation = 0

    @property
    def generation(self) -> int:
        """Grows with every wake-up: what was read at this one holds all that has been announced."""
        return self._generation

    @property
    def closed(self) -> bool:
        """The server is about to stop: every stream ends and every long poll answers now."""
        return self._closed

    @property
    def waiting(self) -> int:
        """How many long polls and streams are open."""
        with self._lock:
            return sum(map(len, self._watches.values()))

    def wake(self, job_ids: Iterable[str]) -> None:
        """Something of these jobs (or background tasks) changed and is committed."""
        with self._lock:
            self._generation += 1
            names = {*job_ids, EVERY_JOB}
            woken = [watch for name in names for watch in self._watches.get(name, ())]
        for watch in woken:
            watch.notify()

    def close(self) -> None:
        """Wake everyone for the last time."""
        self._closed = True
        with self._lock:
            woken = [watch for watches in self._watches.values() for watch in watches]
        for watch in woken:
            watch.notify()

    @contextmanager
    def watch(self, job_id: str) -> Iterator[Watch]:
        """Watch one job (or background task, or `EVERY_JOB`) from now on. Only inside a running event loop."""
        watch = Watch()
        with self._lock:
            self._watches.setdefault(job_id, set()).add(watch)
        try:
            yield watch
        finally:
            self._forget(job_id, watch)

    async def wait(self, job_id: str, timeout_s: float) -> bool:
        """Sleep until the job changes or `RECHECK_S` is over. Reads before it may race: prefer `watch`."""
        with self.watch(job_id) as watch:
            return await watch.wait(timeout_s)

    def _forget(self, job_id: str, watch: Watch) -> None:
        with self._lock:
            watches = self._watches[job_id]
            watches.discard(watch)
            if not watches:
                del self._watches[job_id]
