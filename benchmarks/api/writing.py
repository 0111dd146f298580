"""Submitting jobs, and metrics that come in and go out as charts."""

from collections.abc import Iterator
from itertools import repeat
from typing import Any

from benchmarks.api.client import ask, request
from benchmarks.api.hands import SPEC, Hands, metrics
from benchmarks.api.rounds import Case, interleaved
from benchmarks.api.servers import Server

SHAPES = {"1,000 steps of 1 metric": (1, 1000), "166 steps of 6 metrics": (6, 166), "1 step of 100 metrics": (100, 1)}
SERIES = "train/m0"


class Run:
    """A running job that reports steps without end."""

    def __init__(self, hands: Hands, names: int, steps: int) -> None:
        self._hands = hands
        self.work = hands.running_job()
        self._names = names
        self._steps = steps
        self._last = 0

    def batches(self, count: int) -> Iterator[bytes]:
        """Reports, one after another; made before they are sent."""
        return iter([self._batch() for _ in range(count)])

    def _batch(self) -> bytes:
        first, self._last = self._last + 1, self._last + self._steps
        events = [metrics(step, self._values(step)) for step in range(first, self._last + 1)]
        return self._hands.report(self.work, events)

    def _values(self, step: int) -> dict[str, float]:
        return {f"train/m{index}": (step * 7919 % 10_007) / 10_007 for index in range(self._names)}


def submits(trainyard: Server, requests: int) -> dict[str, Any]:
    """Durable submits, from 1, 8 and 32 clients at once."""
    sent = request("POST", "/v1/jobs", SPEC)
    cases = [
        Case(f"submit, {clients} clients", trainyard, lambda: repeat(sent, requests), clients, (201,))
        for clients in (1, 8, 32)
    ]
    return interleaved(cases)


def ingest(trainyard: Server, hands: Hands, points: int) -> dict[str, Any]:
    """Metric points a second by the shape of the batch: each batch is answered before the next is sent."""
    runs = {name: Run(hands, *shape) for name, shape in SHAPES.items()}
    cases = []
    for name, (names, steps) in SHAPES.items():
        count = max(points // (names * steps), 5)
        made = lambda run=runs[name], count=count: run.batches(min(count, 100))  # noqa: E731
        cases.append(Case(f"ingest, {name} a batch", trainyard, made, 1, units=names * steps))
    found = interleaved(cases)
    for each in runs.values():
        hands.fail(each.work)
    return found


def charts(trainyard: Server, hands: Hands, points: int, requests: int) -> dict[str, Any]:
    """A chart of at most 1,000 points out of a million, which come in through the door first."""
    run = Run(hands, 1, 1000)
    batches = points // 1000
    filling = Case("ingest, a million points of 1 metric", trainyard, lambda: run.batches(batches // 10), 1, units=1000)
    for _ in range(10):
        filling.measure()
    path = f"/v1/jobs/{run.work['job']}/metrics?names={SERIES}"
    _check(ask(trainyard.port, request("GET", path))["series"][SERIES], points)
    cases = [
        Case(f"chart, {name}", trainyard, lambda query=query: repeat(request("GET", path + query), requests), 1)
        for name, query in {"1,000 of a million": "", "zoomed to 50,000 steps": "&x_from=400001&x_to=450000"}.items()
    ]
    found = {filling.name: filling.result(), **interleaved(cases)}
    hands.fail(run.work)
    return found


def _check(series: dict[str, Any], points: int) -> None:
    """At most 1,000 points, their extremes those of all."""
    values = [(step * 7919 % 10_007) / 10_007 for step in range(1, points + 1)]
    if len(series["step"]) > 1000 or min(series["min"]) != min(values) or max(series["max"]) != max(values):
        raise SystemExit("benchmarks api: the chart is not exact")
