"""How long several networks take, measured in turns: all meet the same machine at the same moment."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from app.contract.report import Latency, Runtime
from worker.training.notes import Tell
from worker.training.shortage import ran_out

FEWEST_RUNS, MOST_RUNS = 30, 200
WARM_UP = 5
BUDGET_S = {1: 0.3, 32: 0.6}
"""Seconds for each network, by batch size, after which the fewest runs are enough. Batch 1 takes them whatever they
take."""
PATIENCE_S = 1.5
"""For each network: of a larger batch whose fewest runs would take longer there are only `FEWEST_SLOW`."""
FEWEST_SLOW = 5
"""ResNet-18 reads 32 images of 224x224 in 0.7 s on 2 cores. p95 is then little less than the longest of them."""
LONGEST_S = 120.0
"""For each network: a larger batch that would take longer than this is left out, so that measuring comes to an end."""

Run = Callable[[], None]


def by_batch_size(runs_of: Callable[[int], Mapping[str, Run]]) -> Iterator[tuple[int, str, list[float]]]:
    """The times of each network, batch size by batch size, in seconds; `runs_of` makes what is run for a size.

    A larger batch is left out, for all of them, where it does not fit into memory or would take minutes.
    """
    for batch_size in BUDGET_S:
        try:
            times_s = dict(_timed(runs_of(batch_size), batch_size))
        except Exception as error:
            if batch_size == 1 or not ran_out(error):
                raise
            continue
        yield from ((batch_size, name, each) for name, each in times_s.items())


def _timed(runs: Mapping[str, Run], batch_size: int) -> Iterator[tuple[str, list[float]]]:
    round_s = min(_round(runs) for _ in range(2)) / len(runs)
    slow = batch_size > 1 and round_s * (FEWEST_RUNS + WARM_UP) > PATIENCE_S
    if slow and round_s * FEWEST_SLOW > LONGEST_S:
        return
    end = time.perf_counter() + BUDGET_S[batch_size] * len(runs)
    for _ in range(0 if slow else WARM_UP):  # the two rounds above have warmed what is slow
        _round(runs)
    times_s: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(MOST_RUNS):
        if number >= (FEWEST_SLOW if slow else FEWEST_RUNS) and time.perf_counter() > end:
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


def tell_left_out(latency: Sequence[Latency], tell: Tell) -> None:
    """Say which sizes of batch a network has no latency for."""
    for batch_size in BUDGET_S.keys() - {each.batch_size for each in latency}:
        message = (
            f"Latencies of {batch_size} images at once are left out: they do not fit into memory, or take minutes."
        )
        tell("info", "latency_left_out", message, batch_size=batch_size)
