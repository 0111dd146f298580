"""How long several networks take, measured in turns: all meet the same machine at the same moment."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

from app.contract.report import Latency, Runtime

FEWEST_RUNS, MOST_RUNS = 30, 200
WARM_UP = 5
BUDGET_S = {1: 0.6, 32: 1.0}
"""Seconds for each network, by batch size, after which the fewest runs are enough. Batch 1 takes them whatever they
take."""
LONGEST_S = 1.5
"""For each network: a larger batch whose fewest runs would take longer is left out, so that measuring stays a matter of
seconds on 2 cores."""

Run = Callable[[], None]


def timed(runs: Mapping[str, Run], batch_size: int) -> Iterator[tuple[str, list[float]]]:
    round_s = min(_round(runs) for _ in range(2))
    if batch_size > 1 and round_s * (FEWEST_RUNS + WARM_UP) > LONGEST_S * len(runs):
        return
    end = time.perf_counter() + BUDGET_S[batch_size] * len(runs)
    for _ in range(WARM_UP):
        _round(runs)
    times_s: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(MOST_RUNS):
        if number >= FEWEST_RUNS and time.perf_counter() > end:
            break
        for name, run in runs.items():
            times_s[name].append(_seconds(run))
    yield from times_s.items()


def _round(runs: Mapping[str, Run]) -> float:
    return sum(_seconds(run) for run in runs.values())


def _seconds(run: Run) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def latency(batch_size: int, times_s: list[float], runtime: Runtime) -> Latency:
    """Of one network and size of batch."""
    cuts = statistics.quantiles(times_s, n=20, method="inclusive")
    return Latency(
        batch_size=batch_size,
        p50_s=statistics.median(times_s),
        p95_s=cuts[-1],
        runs=len(times_s),
        runtime=runtime,
    )
