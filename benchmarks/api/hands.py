"""A worker's side of the internal door, as far as the benchmarks need it: claim, start, report, finish."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks.api.client import ask, request
from benchmarks.api.servers import TOKEN

AUTHORIZATION = f"Bearer {TOKEN}"
SPEC: dict[str, Any] = {
    "name": "benchmark",
    "labels": {"team": "vision", "purpose": "benchmark"},
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "resnet10t"},
    "training": {"epochs": 5, "batch_size": 64},
}
"""An ordinary job: what is not said has its default."""

SLOTS = 64


class Hands:
    """Holds jobs as a worker does. Every event of an attempt is numbered here."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reported: dict[str, int] = {}

    def running_job(self, **more: Any) -> dict[str, Any]:
        """Submit a job, claim it and start it; its work order."""
        ask(self._port, request("POST", "/v1/jobs", SPEC | {"priority": 1000} | more))
        devices = [{"index": n, "kind": "cpu", "name": "cpu", "memory_bytes": 1} for n in range(SLOTS)]
        info = {"id": "benchmark", "host": "benchmark", "devices": devices, "task_slots": 0}
        work: dict[str, Any] = ask(self._port, door("claims", info))
        ask(self._port, door(attempt(work, "start"), {"token": work["token"]}), 204)
        return work

    def report(self, work: dict[str, Any], events: Sequence[dict[str, Any]]) -> bytes:
        """A batch of events; send batches of one job in order."""
        first = self._reported.get(work["job"], 0) + 1
        self._reported[work["job"]] = first + len(events) - 1
        now = datetime.now(UTC).isoformat()
        numbered = [{"seq": seq, "time": now, **event} for seq, event in enumerate(events, first)]
        return door(attempt(work, "reports"), {"token": work["token"], "events": numbered})

    def fail(self, work: dict[str, Any]) -> None:
        """End the attempt and its job."""
        failure = {"code": "diverged", "message": "The loss is not finite."}
        body = {"token": work["token"], "outcome": "failed", "failure": failure}
        ask(self._port, door(attempt(work, "finish"), body))


def door(path: str, body: Any) -> bytes:
    """A request to the worker's door."""
    return request("POST", f"/internal/v1/{path}", body, Authorization=AUTHORIZATION)


def attempt(work: dict[str, Any], what: str) -> str:
    """The path of something about an attempt."""
    return f"jobs/{work['job']}/attempts/{work['attempt']}/{what}"


def metrics(step: int, values: dict[str, float]) -> dict[str, Any]:
    """The values of one step."""
    return {"type": "metrics", "step": step, "values": values}


def note(text: str) -> dict[str, Any]:
    """Something that becomes an event of the job."""
    return {"type": "note", "level": "info", "code": "benchmark", "message": text}
