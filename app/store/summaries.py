"""Sums of metric points that can be added to one another: what a bucket of a chart is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NAN, INFINITY, NEGATIVE_INFINITY = 1, 2, 3


@dataclass(slots=True)
class Summary:
    """Points of one series: the mean of the finite ones, exact extremes, and how many were not finite, by kind."""

    last_step: int
    last_time: float
    finite: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    nans: int = 0
    infinities: int = 0
    negative_infinities: int = 0

    @classmethod
    def of_point(cls, step: int, time: float, value: float | None, kind: int) -> "Summary":
        """Of a single point."""
        if kind == 0:
            return cls(step, time, 1, value, value, value)
        return cls(
            step,
            time,
            nans=int(kind == NAN),
            infinities=int(kind == INFINITY),
            negative_infinities=int(kind == NEGATIVE_INFINITY),
        )

    @classmethod
    def of_points(cls, points: Sequence[Sequence[Any]]) -> "Summary":
        """Of several points (step, time, value, kind), at least one, in order of their steps."""
        last_step, last_time, _, _ = points[-1]
        finite = [value for _, _, value, kind in points if kind == 0]
        kinds = [kind for _, _, _, kind in points if kind]
        return cls(
            last_step,
            last_time,
            len(finite),
            # each share on its own, since the sum could overflow
            sum([value / len(finite) for value in finite]) if finite else None,
            min(finite, default=None),
            max(finite, default=None),
            kinds.count(NAN),
            kinds.count(INFINITY),
            kinds.count(NEGATIVE_INFINITY),
        )

    @classmethod
    def of_parts(cls, parts: Sequence["Summary"]) -> "Summary":
        """Of several others, at least one."""
        whole = parts[0].copy()
        for each in parts[1:]:
            whole.add(each)
        return whole

    @classmethod
    def of_row(cls, row: Any) -> "Summary":
        """Of a stored bucket."""
        return cls(
            row.last_step,
            row.last_time,
            row.finite,
            row.mean,
            row.low,
            row.high,
            row.nans,
            row.infinities,
            row.negative_infinities,
        )

    def add(self, other: "Summary") -> None:
        """Take in the points of another one."""
        if other.last_step >= self.last_step:
            self.last_step, self.last_time = other.last_step, other.last_time
        if self.mean is None or self.low is None or self.high is None:
            self.mean, self.low, self.high = other.mean, other.low, other.high
        elif other.mean is not None and other.low is not None and other.high is not None:
            share = other.finite / (self.finite + other.finite)
            # two products of shares: a sum, or the difference of two large values, could overflow
            self.mean = self.mean * (1 - share) + other.mean * share
            self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.finite += other.finite
        self.nans += other.nans
        self.infinities += other.infinities
        self.negative_infinities += other.negative_infinities

    def copy(self) -> "Summary":
        """One that can be added to without changing this."""
        return Summary.of_row(self)

    def shown_mean(self) -> float | str:
        """As arithmetic says: NaN wins, infinities of both signs make NaN."""
        if self.nans or (self.infinities and self.negative_infinities):
            return "NaN"
        if self.infinities or self.negative_infinities:
            return "Infinity" if self.infinities else "-Infinity"
        return self.mean if self.mean is not None else "NaN"

    def shown_low(self) -> float | str:
        """The smallest value; NaN only when there is nothing else."""
        if self.negative_infinities:
            return "-Infinity"
        return self.low if self.low is not None else ("Infinity" if self.infinities else "NaN")

    def shown_high(self) -> float | str:
        """The largest value; NaN only when there is nothing else."""
        if self.infinities:
            return "Infinity"
        return self.high if self.high is not None else ("-Infinity" if self.negative_infinities else "NaN")


def kind_of(value: float) -> int:
    """0 finite, else which of the values that no database compares."""
    if math.isfinite(value):
        return 0
    if math.isnan(value):
        return NAN
    return INFINITY if value > 0 else NEGATIVE_INFINITY


def shown(value: float) -> float | str:
    """A value as JSON can carry it."""
    return (value, "NaN", "Infinity", "-Infinity")[kind_of(value)]
