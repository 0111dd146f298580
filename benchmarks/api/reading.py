"""Reading a job, beside a route that does nothing; and a page of a million jobs, with every filter that there is."""

from itertools import repeat
from typing import Any

from benchmarks.api.client import ask, request
from benchmarks.api.hands import SPEC, Hands, metrics
from benchmarks.api.rounds import Case, interleaved
from benchmarks.api.servers import Server

PROGRESS = {"epoch": 1, "epochs": 5, "step": 100, "steps": 500, "fraction": 0.2, "eta_s": 42.0}
FILTERS = {
    "no filter": "",
    "oldest first": "order=created_at",
    "one state, rare": "state=queued",
    "one state, common": "state=succeeded",
    "all states at once": "state=queued&state=running&state=failed&state=cancelled&state=succeeded",
    "name": "name=name-3",
    "name and state": "name=name-3&state=failed",
    "name that none has": "name=nobody",
    "label": "label.team=t3",
    "label and state": "label.team=t3&state=queued",
    "rare label": "label.run=r17",
    "two labels": "label.team=t3&label.run=r13",
    "two labels that no job has both": "label.team=t3&label.run=r17",
    "name and a label": "name=name-3&label.run=r13",
    "name and a label that no job has both": "name=name-3&label.run=r17",
    "created between": "created_after=2023-11-15T00:00:00Z&created_before=2023-11-16T00:00:00Z",
    "label, created between": "label.team=t3&created_after=2023-11-15T00:00:00Z&created_before=2023-11-16T00:00:00Z",
}


def job(trainyard: Server, bare: Server, hands: Hands, requests: int) -> dict[str, Any]:
    """A running job and a queued one, at 200 and 304, against the bare route."""
    work = hands.running_job()
    values = {"train/loss": 0.4, "train/accuracy": 0.9, "train/learning_rate": 0.001, "val/loss": 0.5}
    ask(trainyard.port, hands.report(work, [metrics(1, values), {"type": "progress", "progress": PROGRESS}]))
    queued = ask(trainyard.port, request("POST", "/v1/jobs", SPEC))["id"]
    path = f"/v1/jobs/{work['job']}"
    etag = f'"{ask(trainyard.port, request("GET", path))["version"]}"'
    asked = {
        "bare route, ready bytes": (bare, request("GET", "/bytes/job_1"), 200),
        "bare route, pydantic model": (bare, request("GET", "/model/job_1"), 200),
        "read a running job": (trainyard, request("GET", path), 200),
        "read a running job, 304": (trainyard, request("GET", path, If_None_Match=etag), 304),
        "read a queued job": (trainyard, request("GET", f"/v1/jobs/{queued}"), 200),
    }
    cases = [
        Case(name, server, lambda sent=sent: repeat(sent, requests), statuses=(status,))
        for name, (server, sent, status) in asked.items()
    ]
    found = interleaved(cases)
    hands.fail(work)
    return found


def pages(trainyard: Server, requests: int) -> dict[str, Any]:
    """The first page of 50 under every filter, one client; and a page far down the list."""
    far = ask(trainyard.port, request("GET", "/v1/jobs?limit=200"))["next_cursor"]
    for _ in range(20):
        far = ask(trainyard.port, request("GET", f"/v1/jobs?limit=200&cursor={far}"))["next_cursor"]
    filters = {**FILTERS, "a page further down": f"cursor={far}"}
    cases = [
        Case(f"list: {name}", trainyard, lambda query=query: _page_requests(query, requests), connections=1)
        for name, query in filters.items()
    ]
    return interleaved(cases)


def _page_requests(query: str, count: int) -> "repeat[bytes]":
    return repeat(request("GET", f"/v1/jobs?limit=50&{query}".rstrip("&")), count)
