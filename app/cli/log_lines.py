"""A job's log lines as NDJSON text, read by cursor: nothing is lost or doubled over a restart of the service."""

import time
from collections.abc import Iterator
from typing import Any

from app.cli.following import FINAL, PATIENCE_S
from app.cli.output import say
from app.cli.service import Service, patiently

ASK_EVERY_S = 1.0


def read(service: Service, job_id: str, filters: dict[str, Any]) -> Iterator[str]:
    """The lines that are there now."""
    cursor: str | None = None
    while True:
        lines, following = _page(service, job_id, filters, cursor)
        yield from lines
        if following == cursor or filters.get("tail"):
            return
        cursor = following


def follow(service: Service, job_id: str, filters: dict[str, Any]) -> Iterator[str]:
    """The lines as they come, until the job is over and the last was read."""
    cursor: str | None = None
    over = False
    while True:
        patience_s = PATIENCE_S if cursor else 0.0
        lines, following = patiently(lambda: _page(service, job_id, filters, cursor), patience_s, say)  # noqa: B023
        yield from lines
        if following != cursor:
            cursor = following
            continue
        if over:
            return
        # Asked before the next read: what that one does not bring will never come.
        over = patiently(lambda: service.get(f"/v1/jobs/{job_id}"), PATIENCE_S, say)["state"] in FINAL
        time.sleep(0.0 if over else ASK_EVERY_S)


def _page(service: Service, job_id: str, filters: dict[str, Any], cursor: str | None) -> tuple[list[str], str]:
    """Some lines and the cursor behind them. A tail is asked for only at first: then it is read on."""
    place = {"after": cursor} if cursor else {"tail": filters.get("tail")}
    asked = {key: value for key, value in (filters | {"tail": None} | place).items() if value is not None}
    headers = {"Accept": "application/x-ndjson"}
    answer = service.request("GET", f"/v1/jobs/{job_id}/logs", params=asked, headers=headers)
    return answer.text.split("\n")[:-1], answer.headers["x-next-cursor"]
