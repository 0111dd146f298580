"""The service as a worker sees it: the internal door over HTTP.

Every call is safe to send again, so a call that got no answer is simply repeated. Only two answers are final:
`Fenced` (somebody else holds the work, or nobody) and `Refused` (the message itself is wrong, again and again).
"""

import asyncio
import json
import logging
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.contract.datasets import ImportProgress
from app.contract.events import Event
from app.contract.work import (
    AttemptToken,
    Finish,
    Heartbeat,
    HeartbeatReply,
    JobWork,
    ReportBatch,
    ReportReply,
    TaskHeartbeat,
    TaskResult,
    TaskWork,
    Work,
    WorkerInfo,
)
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

WORK: TypeAdapter[Work] = TypeAdapter(Work)
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
REFUSALS = frozenset({400, 409, 413, 415, 422})

T = TypeVar("T")


@dataclass(frozen=True)
class Nothing:
    """No work fits now. `ask_again_s`: seconds until there may be some, where the service knows."""

    ask_again_s: float | None = None


class Unreachable(Exception):
    """No usable answer: the service is down, busy, or another program listens there. Ask again later."""


class Fenced(Exception):
    """The work is no longer ours: stop it, and write nothing more."""


class Refused(Exception):
    """The service understood and will never take this message."""


class Gap(Exception):
    """Reported events do not follow those that the service has."""


class Server:
    """One connection pool to the service. Use as an async context manager, within one event loop."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._url: str | None = None
        # A proxy of the environment must not see loopback traffic. Loading certificates takes 20 ms: only for https.
        https = (settings.url or "").startswith("https")
        self._client = httpx.AsyncClient(trust_env=False, verify=https, timeout=TIMEOUT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def claim(self, worker: WorkerInfo) -> JobWork | TaskWork | Nothing:
        """Ask for work. Not repeated: what was claimed unheard ends with its lease."""
        answer = await self._post("claims", worker)
        if answer.status_code == httpx.codes.NO_CONTENT:
            return Nothing(_retry_after_s(answer))
        return _parse(WORK, answer)

    async def start(self, work: JobWork) -> None:
        """The job's program runs: starting -> running."""
        await self._post(f"{_attempt(work)}/start", AttemptToken(token=work.token))

    async def heartbeat(self, work: JobWork) -> HeartbeatReply:
        """Extend the lease."""
        answer = await self._post(f"{_attempt(work)}/heartbeat", Heartbeat(token=work.token))
        return _parse(TypeAdapter(HeartbeatReply), answer)

    async def wish(self, work: JobWork, wait_s: float) -> HeartbeatReply:
        """Wait up to `wait_s` for a stop that a user wishes."""
        path = f"{_attempt(work)}/wish?wait_s={wait_s:g}"
        answer = await self._post(path, AttemptToken(token=work.token), timeout_s=wait_s + 15)
        return _parse(TypeAdapter(HeartbeatReply), answer)

    async def report(self, work: JobWork, events: Sequence[Event]) -> ReportReply:
        """Hand over events, in order. Raises `Gap` when the service lacks those before."""
        batch = ReportBatch(token=work.token, events=list(events))
        answer = await self._post(f"{_attempt(work)}/reports", batch)
        return _parse(TypeAdapter(ReportReply), answer)

    async def finish(self, work: JobWork, message: Finish) -> None:
        """Close the attempt."""
        await self._post(f"{_attempt(work)}/finish", message)

    async def task_heartbeat(self, work: TaskWork, progress: ImportProgress | None = None) -> None:
        """Extend the lease of a background task, and say how far it is."""
        await self._post(f"tasks/{work.task}/heartbeat", TaskHeartbeat(token=work.token, progress=progress))

    async def task_finish(self, work: TaskWork, result: TaskResult) -> None:
        """Hand over what a background task found."""
        await self._post(f"tasks/{work.task}/finish", result)

    async def _post(self, path: str, body: BaseModel, timeout_s: float | None = None) -> httpx.Response:
        try:
            answer = await self._client.post(
                f"{self._address()}/internal/v1/{path}",
                content=body.model_dump_json(),
                headers=self._headers(),
                timeout=httpx.Timeout(timeout_s, connect=TIMEOUT.connect) if timeout_s else TIMEOUT,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._url = None  # it may have come back elsewhere
            raise Unreachable(f"{path}: {type(error).__name__} {error}") from error
        if answer.is_success:
            return answer
        raise self._error(path, answer)

    def _headers(self) -> dict[str, str]:
        """Without a token we ask all the same: the answer, 401, says better than we could what is missing."""
        token = self._settings.token()
        proof = {"Authorization": f"Bearer {token}"} if token else {}
        return {"Content-Type": "application/json", **proof}

    def _address(self) -> str:
        """The service's base URL, looked up again after each failure: it may be restarted on another port."""
        if self._url is None:
            self._url = (self._settings.url or _published(self._settings)).rstrip("/")
        return self._url

    def _error(self, path: str, answer: httpx.Response) -> Exception:
        detail = f"{path}: {answer.status_code} {answer.text[:500]}"
        if answer.status_code == httpx.codes.GONE and _says_fenced(answer):
            return Fenced(detail)
        if answer.status_code == httpx.codes.CONFLICT and path.endswith("/reports"):
            return Gap(detail)
        if answer.status_code in REFUSALS:
            return Refused(detail)
        self._url = None
        return Unreachable(detail)


async def patiently(call: Callable[[], Awaitable[T]], longest_pause_s: float = LONGEST_PAUSE_S) -> T:
    """Repeat a call until it is answered, with growing, jittered pauses. `Fenced`, `Refused` and `Gap` get through.

    What holds a lease gives the time between two heartbeats as `longest_pause_s`: a service that comes back grants one
    lease of grace, and a holder that sleeps longer than that would be taken for lost.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await call()
        except Unreachable as error:
            if pause_s == FIRST_PAUSE_S:  # once an outage, or it fills the log
                log.warning("the service cannot be reached, asking again and again: %s", error)
        # Jitter: after an outage a hundred supervisors must not come back in the same instant.
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(pause_s * 2, longest_pause_s, LONGEST_PAUSE_S)


def _attempt(work: JobWork) -> str:
    return f"jobs/{work.job}/attempts/{work.attempt}"


def _published(settings: WorkerSettings) -> str:
    path = settings.run_dir / "api.json"
    try:
        return str(json.loads(path.read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"no TRAINYARD_URL, and {path} names no service ({error})") from error


def _retry_after_s(answer: httpx.Response) -> float | None:
    told = answer.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else None


def _says_fenced(answer: httpx.Response) -> bool:
    """A 410 of a stranger on a reused port must not end a training run: the problem type has to be ours."""
    try:
        kind = answer.json()["type"]
    except (ValueError, KeyError, TypeError):
        return False
    return re.search(r"(^|[/:#])fenced$", str(kind)) is not None


def _parse(adapter: TypeAdapter[T], answer: httpx.Response) -> T:
    try:
        return adapter.validate_json(answer.content)
    except ValidationError as error:
        raise Unreachable(f"an answer that we cannot read: {error}") from error
