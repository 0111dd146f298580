"""The service over HTTP, with its answers as plain dictionaries and its refusals as readable blocks."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from app.cli.exits import CommandFailed, Exit
from app.cli.place import service_url

T = TypeVar("T")
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
LONG_POLL_S = 25
TIMEOUT = httpx.Timeout(30.0 + LONG_POLL_S, connect=5.0)
NOT_NOW = {429, 502, 503, 504}


class Unreachable(CommandFailed):
    """No answer, or one that says to ask again later (`retry_after_s`)."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, Exit.UNREACHABLE)
        self.retry_after_s = retry_after_s


class Refused(CommandFailed):
    """The service said no. `status` is its HTTP status, `problem` its problem document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(problem_block(problem), Exit.REFUSED)
        self.status = status
        self.problem = problem


class Service:
    """One service. Its address is looked up again at every request, so a restart on another port is survived."""

    def __init__(self) -> None:
        self._clients: dict[str, httpx.Client] = {}

    def close(self) -> None:
        """Give back its connections."""
        for client in self._clients.values():
            client.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer, below 400. Raises `Refused` and `Unreachable`."""
        url = service_url()
        try:
            return checked(self._client(url).request(method, path, **options))
        except httpx.TransportError as error:
            raise Unreachable(_unreachable_block(url, error)) from error

    @contextmanager
    def stream(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """An answer that is read piece by piece. Raises as `request` does, also in the midst of it."""
        url = service_url()
        try:
            with self._client(url).stream("GET", path, **options) as response:
                if response.status_code >= 400:
                    response.read()
                yield checked(response)
        except httpx.TransportError as error:
            raise Unreachable(_unreachable_block(url, error)) from error

    def get(self, path: str, **params: Any) -> Any:
        """The JSON document at a path; parameters that are None are left out."""
        given = {key: value for key, value in params.items() if value is not None}
        return self.request("GET", path, params=given).json()

    def pages(self, path: str, limit: int, **params: Any) -> list[Any]:
        """Up to `limit` items of a list that comes in pages."""
        items: list[Any] = []
        cursor = None
        while len(items) < limit:
            page = self.get(path, limit=min(limit - len(items), 200), cursor=cursor, **params)
            items += page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                break
        return items

    def _client(self, url: str) -> httpx.Client:
        if url not in self._clients:
            # A proxy of the environment must not stand between two programs of one machine.
            environment = urlsplit(url).hostname not in LOOPBACK
            self._clients[url] = httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=environment, headers=_proof())
        return self._clients[url]


def _proof() -> dict[str, str]:
    """TRAINYARD_API_KEY as a header. Raises `CommandFailed` for what cannot be a key; it is not shown."""
    key = os.environ.get("TRAINYARD_API_KEY", "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", key):
        raise CommandFailed("TRAINYARD_API_KEY is not a key: it has spaces or other odd characters in it.", Exit.USAGE)
    return {"Authorization": f"Bearer {key}"} if key else {}


def patiently(call: Callable[[], T], patience_s: float, tell: Callable[[str], None]) -> T:
    """Call until an answer comes, for at most `patience_s` seconds without one; `tell` hears of it once."""
    deadline = time.monotonic() + patience_s
    told = False
    while True:
        try:
            return call()
        except Unreachable as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                tell("the service does not answer; trying again ...")
                told = True
            time.sleep(min(error.retry_after_s or 1.0, 10.0))


def checked(response: httpx.Response) -> httpx.Response:
    """The same answer. Raises `Unreachable` for "not now", `Refused` for every other error."""
    if response.status_code < 400:
        return response
    problem = _problem(response)
    if response.status_code in NOT_NOW:
        raise Unreachable(problem_block(problem), _seconds(response.headers.get("retry-after")))
    raise Refused(response.status_code, problem)


def problem_block(problem: dict[str, Any]) -> str:
    """Title, detail, and each pointer with what is wrong there."""
    title, detail = str(problem.get("title", "Error")), str(problem.get("detail") or "")
    lines = [f"{title} ({problem['status']})" if "status" in problem else title]
    errors = problem.get("errors", [])
    detail = detail.removeprefix(
        title
    ).strip()  # where the service has no more to say, its detail begins with the title
    if detail not in ("", *(error.get("detail") for error in errors)):
        lines.append(f"  {detail}")
    lines += [f"  {_place(error)}: {error.get('detail', '')}" for error in errors]
    return "\n".join(lines)


def _place(error: dict[str, Any]) -> str:
    """A JSON Pointer into the body, or the name of a query parameter."""
    return str(error.get("pointer") or error.get("parameter") or "(body)")


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and "title" in body:
        return {"status": response.status_code, **body}
    return {"title": response.reason_phrase or "Error", "status": response.status_code, "detail": response.text[:500]}


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isdigit() else None


def _unreachable_block(url: str, error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectError):
        return (
            f"no service answers at {url}.\n"
            "  Start one with `trainyard serve`, or name another with TRAINYARD_URL or TRAINYARD_HOME."
        )
    return f"the connection to {url} broke: {error or type(error).__name__}.\n  Try again; `trainyard serve` logs why."
