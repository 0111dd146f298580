"""The periodic loop: ends leases that ran out, nudges again, removes what is over. Safe in several replicas at once.

Each step is conditional on what it read, so two replicas that do the same at the same time do it once.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from app import queue
from app.contract.faults import Point, reach
from app.errors import TrainyardError
from app.services import housekeeping, reaping
from app.store import migrate
from app.store.session import Database

MAX_GAP_S = 15.0
"""After a longer silence of its own, upkeep cannot tell workers that are gone from workers that could not reach us."""

log = logging.getLogger(__name__)


@dataclass
class Upkeep:
    """The loop of one process. `nudge` tells workers that there may be work."""

    database: Database
    nudge: Callable[[], None] = queue.nudge
    _last_tick: float | None = None
    _grace_until: float = 0.0
    _failing: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Run the loop in a thread."""
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop, after the step that it is at."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def tick(self) -> None:
        """Do all that is due. Raises when the database is away; the next tick then gives workers a lease of grace."""
        with self.database.read() as session:
            time_s = housekeeping.clock(session)
        self._note_silence(time_s)
        if time_s >= self._grace_until:
            reaping.reap(self.database)
        with self.database.write() as session:
            is_due = housekeeping.is_nudge_due(session)
        if is_due:
            reach(Point.REMIND_BEFORE_NUDGE)
            self.nudge()
        housekeeping.purge(self.database)
        self._last_tick = time_s

    def _note_silence(self, time_s: float) -> None:
        """After our own start, and after a gap: every lease gets its full length again before one is ended."""
        if self._last_tick is None or time_s - self._last_tick > MAX_GAP_S:
            self._grace_until = time_s + self.database.settings.lease_s

    def _run(self) -> None:
        with contextlib.suppress(Exception):
            self.nudge()  # so that readiness knows from the start whether the broker answers
        while not self._stop.is_set():
            try:
                self.tick()
                self._note_failure("")
            except TrainyardError as error:
                self._note_failure(self._reason(error))
            except Exception:  # the loop must go on: leases are reaped by nobody else
                log.exception("upkeep failed")
            self._stop.wait(self.database.settings.upkeep_s)

    def _note_failure(self, reason: str) -> None:
        """Say it once an outage, not at every tick."""
        if reason and reason != self._failing:
            log.warning("upkeep cannot do its work: %s", reason)
        elif self._failing and not reason:
            log.info("upkeep does its work again")
        self._failing = reason

    def _reason(self, error: TrainyardError) -> str:
        """Tables that are missing or old look like a database that does not answer."""
        try:
            current = migrate.is_current(self.database)
        except TrainyardError:
            return error.detail
        return (
            error.detail
            if current
            else "the database has other tables than this version needs: run `trainyard db upgrade`."
        )
