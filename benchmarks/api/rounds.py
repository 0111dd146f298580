"""Rounds of several servers in turn: what disturbs the machine then disturbs all alike, and ratios hold."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.api.client import Measured, run
from benchmarks.api.servers import Server

ROUNDS = 5


@dataclass
class Case:
    """Something that a server is asked many times. `units`: how many of what is counted one request carries."""

    name: str
    server: Server
    requests: Callable[[], Iterable[bytes]]
    connections: int = 8
    statuses: tuple[int, ...] = (200,)
    units: int = 1
    rounds: list[tuple[Measured, float]] = field(default_factory=list)

    def measure(self) -> None:
        """One more round."""
        before_s = self.server.cpu_s()
        measured = run(self.server.port, self.requests(), self.connections).expect(*self.statuses)
        self.rounds.append((measured, self.server.cpu_s() - before_s))

    def result(self) -> dict[str, Any]:
        """Medians over the rounds; the slowest request of all."""
        counts = [len(measured.times_s) * self.units for measured, _ in self.rounds]
        cpu_us = [1e6 * cpu_s / count for (_, cpu_s), count in zip(self.rounds, counts, strict=True)]
        return {
            "per_s": _rounded(statistics.median(measured.per_s * self.units for measured, _ in self.rounds)),
            "cpu_us": _rounded(statistics.median(cpu_us)),
            "p50_ms": _rounded(1e3 * statistics.median(measured.p50_s for measured, _ in self.rounds)),
            "p95_ms": _rounded(1e3 * statistics.median(measured.p95_s for measured, _ in self.rounds)),
            "max_ms": _rounded(1e3 * max(max(measured.times_s) for measured, _ in self.rounds)),
            "requests": sum(len(measured.times_s) for measured, _ in self.rounds),
            "rounds": len(self.rounds),
        }


def interleaved(cases: list[Case], rounds: int = ROUNDS) -> dict[str, dict[str, Any]]:
    """Each case once a round, after one round that is not counted; the results by name."""
    for each in cases:
        each.measure()
        each.rounds.clear()
    for _ in range(rounds):
        for each in cases:
            each.measure()
    for each in cases:
        print(f"  {each.server.name:<10} {each.name:<44} {_line(each.result())}", flush=True)
    return {each.name: each.result() for each in cases}


def _line(result: dict[str, Any]) -> str:
    return f"{result['per_s']:>9}/s  {result['cpu_us']:>8} µs CPU  p50 {result['p50_ms']} ms  p95 {result['p95_ms']} ms"


def _rounded(value: float) -> float:
    """Three digits: the fourth is noise."""
    return float(f"{value:.3g}")
