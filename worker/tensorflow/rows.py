"""What steps gave, read from the devices about once a second: a step is not waited for before the next is begun."""

import math
import os
import time
from collections.abc import Callable
from typing import Any

from worker.training.rows import NON_FINITE_LIMIT, Diverging, Row, row_of

INTERVAL_S = 1.0


class Waiting:
    """The rows of steps that were not read yet."""

    def __init__(self, known: int, publish: Callable[[list[Row]], None]) -> None:
        """`known`: the last step whose row was read before. `publish` is given all others, in order."""
        self.non_finite = 0
        """Steps in a row, up to the last one read, whose loss is no finite number."""
        self._known = known
        self._publish = publish
        self._rows: list[Any] = []
        self._interval_s = float(os.environ.get("TRAINYARD_COUNCIL_S", INTERVAL_S))
        self._read_s = time.monotonic()

    def add(self, row_3: Any) -> None:
        """Take the row of one more step. Raises `Diverging` when those that are read now show it."""
        self._rows.append(row_3)
        if time.monotonic() - self._read_s >= self._interval_s:
            self.settle()

    def settle(self) -> None:
        """Read all that there are."""
        self._read_s = time.monotonic()
        rows = [row_of(self._known + number, each.numpy().tolist()) for number, each in enumerate(self._rows, 1)]
        self._known += len(rows)
        self._rows = []
        self._publish(rows)
        for row in rows:
            self.non_finite = 0 if math.isfinite(row.loss) else self.non_finite + 1
            if self.non_finite >= NON_FINITE_LIMIT:
                raise Diverging(f"The loss of steps {row.step - NON_FINITE_LIMIT + 1} to {row.step} is {row.loss}.")
