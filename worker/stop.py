"""That a run shall stop, and by when it must have: users wish it, a draining worker demands it sooner."""

import asyncio
import logging

log = logging.getLogger(__name__)


class Stop:
    """Set once or more; the earliest deadline counts. `drained`: by a signal to the supervisor, not by a user."""

    def __init__(self) -> None:
        self.wished = asyncio.Event()
        self.drained = asyncio.Event()
        self._deadline = float("inf")

    def wish(self, why: str, grace_s: float) -> None:
        """From now the run has `grace_s` to save what it has done."""
        if not self.wished.is_set():
            log.info("stopping the run: %s; it has %g s to save", why, grace_s)
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + grace_s)
        self.wished.set()

    def drain(self, grace_s: float) -> None:
        """This process was told to end."""
        self.wish("the worker is being stopped", grace_s)
        self.drained.set()

    def left_s(self) -> float:
        """Until the run is killed; endless when nobody asked."""
        return self._deadline - asyncio.get_running_loop().time()
