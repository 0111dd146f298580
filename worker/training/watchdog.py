"""Rule 14: a hang ends itself. Notices when no rank has made a step for far longer than steps take."""

import os
from collections import deque
from statistics import median

STALL_S = 300.0
STALL_STEPS = 10
START_FACTOR = 12
"""Before the first step, data is read and checked, which may take this many times longer."""


class Watchdog:
    """Fed with the count of steps now and then; says when the silence has lasted for `limit_s`."""

    def __init__(self, now_s: float, stall_s: float | None = None) -> None:
        self._stall_s = stall_s or float(os.environ.get("TRAINYARD_STALL_S", STALL_S))
        self._steps = 0
        self._since_s = now_s
        self._recent_s: deque[float] = deque(maxlen=101)

    @property
    def limit_s(self) -> float:
        """How long a silence is borne now: max(10 x median step, 300 s)."""
        if not self._steps:
            return self._stall_s * START_FACTOR
        return max(self._stall_s, STALL_STEPS * median(self._recent_s))

    def stalled(self, steps: int, now_s: float) -> bool:
        """Take note of the count of steps at a time; true when too long none was added."""
        if steps > self._steps:
            self._recent_s.append((now_s - self._since_s) / (steps - self._steps))
            self._steps, self._since_s = steps, now_s
        return now_s - self._since_s > self.limit_s
