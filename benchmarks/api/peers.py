"""MLflow's tracking server where it answers the same question.

Ours holds a million jobs and points, MLflow what it is given here. Both store in SQLite, and the same client asks them
in turn.
"""

import time
from collections.abc import Iterator
from itertools import repeat
from typing import Any

from benchmarks.api.client import ask, request
from benchmarks.api.hands import SPEC, Hands
from benchmarks.api.rounds import Case, interleaved
from benchmarks.api.servers import Server
from benchmarks.api.writing import SERIES, Run

API = "/api/2.0/mlflow"
BATCH = 1000
"""The most metrics that MLflow takes in one request."""

MLFLOW_POINTS = 50_000
"""Of the run whose chart is asked for: ours has a million."""


class Tracking:
    """An experiment on an MLflow server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        made = ask(server.port, request("POST", f"{API}/experiments/create", {"name": "benchmark"}))
        self.experiment: str = made["experiment_id"]
        self.run = self.new_run()
        self._step = 0

    def new_run(self) -> str:
        """A run with what our spec would say of it."""
        run: str = ask(self.server.port, self.create())["run"]["info"]["run_id"]
        params = {"model": "resnet10t", "dataset": "digits", "epochs": "5", "batch_size": "64"}
        pairs = [{"key": key, "value": value} for key, value in params.items()]
        ask(self.server.port, request("POST", f"{API}/runs/log-batch", {"run_id": run, "params": pairs}))
        return run

    def create(self) -> bytes:
        """A run without parameters."""
        tags = [{"key": "team", "value": "vision"}, {"key": "purpose", "value": "benchmark"}]
        body = {"experiment_id": self.experiment, "start_time": int(time.time() * 1000), "tags": tags}
        return request("POST", f"{API}/runs/create", body)

    def batches(self, count: int) -> Iterator[bytes]:
        """Metrics of one name, step after step."""
        return iter([self._batch() for _ in range(count)])

    def _batch(self) -> bytes:
        first, self._step = self._step + 1, self._step + BATCH
        now_ms = int(time.time() * 1000)
        points = [
            {"key": SERIES, "value": (step * 7919 % 10_007) / 10_007, "timestamp": now_ms, "step": step}
            for step in range(first, self._step + 1)
        ]
        return request("POST", f"{API}/runs/log-batch", {"run_id": self.run, "metrics": points})

    def search(self) -> bytes:
        """A page of 50 runs."""
        return request("POST", f"{API}/runs/search", {"experiment_ids": [self.experiment], "max_results": 50})

    def get(self) -> bytes:
        """The run."""
        return request("GET", f"{API}/runs/get?run_id={self.run}")

    def chart(self) -> bytes:
        """What its own pages ask for to draw a curve."""
        path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
        return request("GET", f"{path}?run_ids={self.run}&metric_key={SERIES}&max_results=1000")


def compare(trainyard: Server, mlflow: Server, hands: Hands, requests: int) -> dict[str, Any]:
    """The same questions to both, in turn. `requests`: to us; MLflow gets a tenth, since it takes its time."""
    tracking, run = Tracking(mlflow), Run(hands, 1, BATCH)
    fewer = max(requests // 10, 5)
    path = f"/v1/jobs/{run.work['job']}"
    for each in tracking.batches(MLFLOW_POINTS // BATCH):
        ask(mlflow.port, each)
    questions = {
        "create": (repeat(request("POST", "/v1/jobs", SPEC), requests), repeat(tracking.create(), fewer)),
        "read one": (repeat(request("GET", path), requests), repeat(tracking.get(), fewer)),
        "a page of 50": (repeat(request("GET", "/v1/jobs?limit=50"), fewer), repeat(tracking.search(), fewer)),
        "a curve": (repeat(request("GET", f"{path}/metrics?names={SERIES}"), fewer), repeat(tracking.chart(), fewer)),
    }
    cases = [
        Case(f"{who.name}: {name}", who, lambda sent=sent: [*sent], 4, (200, 201))
        for name, asked in questions.items()
        for who, sent in zip((trainyard, mlflow), ([*asked[0]], [*asked[1]]), strict=True)
    ]
    for name, who, batches in (("trainyard", trainyard, run.batches), ("mlflow", mlflow, tracking.batches)):
        cases.append(Case(f"{name}: log points", who, lambda batches=batches: batches(5), 1, units=BATCH))
    found = interleaved(cases)
    hands.fail(run.work)
    return {name: _ratio(found, name) for name in (*questions, "log points")}


def _ratio(found: dict[str, Any], name: str) -> dict[str, Any]:
    ours, theirs = found[f"trainyard: {name}"], found[f"mlflow: {name}"]
    return {"trainyard": ours, "mlflow": theirs, "times_as_fast": float(f"{ours['per_s'] / theirs['per_s']:.3g}")}
