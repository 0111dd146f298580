"""Following a job to its end: long polls for its state, its events by cursor, over restarts of the service."""

import sys
from typing import Any

import httpx

from app.cli.display import Display, choose_display
from app.cli.exits import CommandFailed, Exit
from app.cli.output import duration, number, print_json, say
from app.cli.reports import print_gates
from app.cli.service import LONG_POLL_S, Service, patiently

PATIENCE_S = 600.0  # a service that is being upgraded or restarted is waited for; one that is gone is not
FINAL = {"succeeded": Exit.SUCCEEDED, "failed": Exit.FAILED, "cancelled": Exit.CANCELLED}


class Following:
    """One job, watched from its first event on."""

    def __init__(self, service: Service, job_id: str, display: Display) -> None:
        self._service = service
        self._path = f"/v1/jobs/{job_id}"
        self._display = display
        self._etag: str | None = None
        self._cursor: str | None = None

    def to_the_end(self) -> dict[str, Any]:
        """Show the job until it is final; returns it. Raises `Refused` when there is no such job."""
        with self._display as display:
            while True:
                # An absent service is said at once; only one that was there is waited for.
                patience_s = PATIENCE_S if self._etag else 0.0
                job = patiently(self._job_when_changed, patience_s, display.line)
                events = patiently(self._new_events, PATIENCE_S, display.line)
                for event, fresh in zip(events, _fresh(events, job), strict=True):
                    display.event(event, job, fresh)
                display.job(job)
                if job["state"] in FINAL:
                    return job

    def _job_when_changed(self) -> dict[str, Any]:
        """The job; after the first time, once it is another than the one last seen."""
        while True:
            response = self._service.request("GET", self._path, headers=self._conditions())
            if response.status_code != httpx.codes.NOT_MODIFIED:
                self._etag = response.headers["etag"]
                job: dict[str, Any] = response.json()
                return job

    def _conditions(self) -> dict[str, str]:
        return {"If-None-Match": self._etag, "Prefer": f"wait={LONG_POLL_S}"} if self._etag else {}

    def _new_events(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        while True:
            page = self._service.get(f"{self._path}/events", after=self._cursor)
            self._cursor = page["cursor"]
            if not page["items"]:
                return events
            events += page["items"]


def _fresh(events: list[dict[str, Any]], job: dict[str, Any]) -> list[bool]:
    """Which events are of now, so that the job's pace belongs to them: the last epoch, while the job runs."""
    epochs = [event["seq"] for event in events if event["type"] == "epoch"]
    return [job["state"] == "running" and event["seq"] in epochs[-1:] for event in events]


def follow(service: Service, job_id: str, as_json: bool) -> None:
    """Show a job to its end and leave with the exit code of its state. Ctrl-C detaches: the job goes on."""
    stream = sys.stderr if as_json else sys.stdout
    try:
        job = Following(service, job_id, choose_display(stream)).to_the_end()
    except KeyboardInterrupt:
        raise CommandFailed(_detached_block(job_id), Exit.DETACHED) from None
    if as_json:
        print_json(job)
    else:
        print(closing_line(job))
        print_gates(job["report"] or {})
    if job["state"] != "succeeded":
        raise CommandFailed(failure_block(job), FINAL[job["state"]])


def closing_line(job: dict[str, Any]) -> str:
    """`job_... succeeded in 52 s, val/accuracy 0.9821`."""
    from datetime import datetime

    line = f"{job['id']} {job['state']}"
    if job["started_at"] and job["finished_at"]:
        took = datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])
        line += f" in {duration(took.total_seconds())}"
    accuracy = job["latest_metrics"].get("val/accuracy")
    return line if accuracy is None else f"{line}, val/accuracy {number(accuracy)}"


def failure_block(job: dict[str, Any]) -> str:
    """Why the job did not succeed, and what to change."""
    failure = job["failure"]
    if not failure:
        return f"{job['id']} was {job['state']}."
    lines = [f"{job['id']} failed: {failure['code']}", f"  {failure['message']}"]
    lines += [f"  {error['pointer']}: {error['detail']}" for error in failure["errors"]]
    lines += [f"  {failure['hint']}"] if failure["hint"] else []
    return "\n".join([*lines, f"  Its log: trainyard logs {job['id']}"])


def _detached_block(job_id: str) -> str:
    say("")
    return (
        f"detached; {job_id} goes on.\n"
        f"  Cancel it:      trainyard cancel {job_id}\n"
        f"  Watch it again: trainyard watch {job_id}"
    )
