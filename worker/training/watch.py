"""Waiting for the processes of a run: their reports are written down, and none outlives the failure of another."""

import selectors
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.contract.failures import Failure, FailureCode
from worker.training import causes
from worker.training.board import Board
from worker.training.errors import RunFailure
from worker.training.events import EventLog
from worker.training.memory import TooLarge
from worker.training.processes import DUMP_STACKS, STOPPED, STOPPED_UNSAVED, Child
from worker.training.watchdog import Watchdog

LOOK_S = 0.25  # between looks at the clock
CAUSE_S = 2.0  # how long the process that caused others' failures may take to tell
PLAN_S = 30.0  # how long the planner, if it is still at work, may take to tell which field an unknown error comes from
STACKS_S = 1.0  # for the ranks to write their stacks
LEAVE_S = 60.0  # after the time is up, for the ranks to save


class Stopped(Exception):
    """The run was asked to stop and did."""

    def __init__(self, *, saved: bool) -> None:
        super().__init__()
        self.saved = saved


@dataclass
class Limits:
    """What ends a run from outside: a person's wish, or the time of the job."""

    board: Board
    ends_s: float | None = None
    timed_out: bool = False
    signalled: bool = False

    def look(self, now_s: float) -> None:
        """Pass on what has come to pass."""
        if self.ends_s is not None and now_s > self.ends_s:
            self.timed_out = True
        if self.timed_out or self.signalled:
            self.board.wish_stop()

    def raise_if_out_of_time(self) -> None:
        """A run that stopped because its time was up has failed."""
        if self.timed_out:
            raise RunFailure(FailureCode.TIMEOUT, "The job used up limits.max_duration_s.")


@dataclass
class Watch:
    """Over a group of processes that live and die together."""

    children: Sequence[Child]
    events: EventLog
    limits: Limits
    watchdog: Watchdog | None = None  # only where steps are made
    planner: Child | None = None  # the one of the children that knows the fields of the spec
    ends_s: float | None = None  # when children that make no steps have had all the time that they may take
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _failing_since_s: float | None = None

    def until_all_end(self) -> None:
        """Return when all have done their work. Raises `RunFailure` with the cause, or `Stopped`; then none is left.

        `TooLarge`, a `RunFailure` too, says that starting them again with fewer images at a time may do.
        """
        self._wait_for(self.children)

    def until_ended(self, first: Child) -> None:
        """Return when this one of them has done its work; the others go on, unless anything failed or was stopped."""
        self._wait_for([first])

    def _wait_for(self, awaited: Sequence[Child]) -> None:
        for child in self._alive():
            if not child.is_silent:
                self._selector.register(child.pipe, selectors.EVENT_READ, (self._read, child))
            self._selector.register(child.pidfd, selectors.EVENT_READ, (self._ended, child))
        try:
            while any(child.exit_code is None for child in awaited):
                for key, _ in self._selector.select(LOOK_S):
                    action, child = key.data
                    if child.exit_code is None:  # its end may have been seen a moment ago
                        action(child)
                self._look(time.monotonic())
            self._conclude()
        except BaseException:
            self._kill()
            raise
        finally:
            self._selector.close()

    def _alive(self) -> list[Child]:
        return [child for child in self.children if child.exit_code is None]

    def _read(self, child: Child) -> None:
        if child.is_silent:
            return
        lines, child.is_silent = child.read()
        for text in lines:
            self.events.append(text)
        if child.is_silent:
            self._selector.unregister(child.pipe)

    def _ended(self, child: Child) -> None:
        self._read(child)
        if child.pipe in self._selector.get_map():  # what it started itself still holds the other end
            self._selector.unregister(child.pipe)
        self._selector.unregister(child.pidfd)
        child.reap()
        child.close()

    def _look(self, now_s: float) -> None:
        self.limits.look(now_s)
        if self.limits.board.stop_wished:
            self._look_at_stop(now_s)
        if self.watchdog and self.watchdog.stalled(self.limits.board.slowest(), now_s):
            self._end_hang(f"No step was made for {self.watchdog.limit_s:.0f} s")
        if self.ends_s is not None and now_s > self.ends_s:
            self._end_hang(f"{', '.join(each.name for each in self._alive())} took longer than anything may")
        self._look_at_failures(now_s)

    def _look_at_stop(self, now_s: float) -> None:
        """Without a step there is nothing to save; and time that is up is not waited for without end."""
        if self.watchdog is None or not self.limits.board.slowest():
            self._kill()
            self.limits.raise_if_out_of_time()
            raise Stopped(saved=self.watchdog is None)
        if self.limits.ends_s is not None and now_s > self.limits.ends_s + LEAVE_S:
            self._kill()
            self.limits.raise_if_out_of_time()

    def _look_at_failures(self, now_s: float) -> None:
        told = self._failures()
        if told and self._failing_since_s is None:
            self._failing_since_s = now_s
        waited_s = now_s - (self._failing_since_s or now_s)
        planning = self.planner is not None and self.planner.exit_code is None
        unclear = causes.may_be_explained if planning else causes.is_consequence
        if any(not unclear(each) for each in told) or waited_s > (PLAN_S if planning else CAUSE_S):
            if any(each.code is FailureCode.STALLED for each in told):
                self._dump_stacks()  # a rank has waited too long for one that can say no more than where it is
            self._kill()

    def _failures(self) -> list[Failure]:
        return [told for child in self.children if (told := child.verdict())]

    def _end_hang(self, what: str) -> None:
        self._dump_stacks()
        self._kill()
        raise RunFailure(FailureCode.STALLED, f"{what}; the stacks of all processes are in their logs.")

    def _dump_stacks(self) -> None:
        """Every process writes to its log where it is."""
        for child in self._alive():
            child.signal(DUMP_STACKS)
            child.signal(signal.SIGCONT)  # one that is stopped takes no other signal before
        time.sleep(STACKS_S)

    def _kill(self) -> None:
        alive = self._alive()
        for child in alive:
            child.dismiss()
        for child in alive:
            self._ended(child)

    def _conclude(self) -> None:
        told = sorted(self._failures(), key=causes.distance)
        smaller = [child.smaller for child in self.children if child.smaller is not None]
        if smaller and told[0].code is FailureCode.OUT_OF_MEMORY:
            raise TooLarge(told[0].message, min(smaller))
        if told:
            raise RunFailure(told[0].code, told[0].message, told[0].errors)
        codes = {child.exit_code for child in self.children}
        if codes & {STOPPED, STOPPED_UNSAVED}:
            self.limits.raise_if_out_of_time()
            raise Stopped(saved=STOPPED_UNSAVED not in codes)
