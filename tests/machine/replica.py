"""One replica of the service inside this process: the real app behind its real routes; its upkeep is ticked by hand."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx

from app import queue
from app.main import create_app
from app.settings import Settings
from app.store.session import Database
from app.upkeep import Upkeep
from tests.support.databases import pass_time


@dataclass(frozen=True)
class Answer:
    """What came back. `body` is the parsed JSON, or None."""

    status: int
    body: Any
    headers: httpx.Headers


class Replica:
    """Made anew by a restart. Sends no messages: here the rows alone must carry all."""

    def __init__(self, settings: Settings) -> None:
        self._app = create_app(settings)
        queue.disconnect()
        self._loop = asyncio.Runner()
        transport = httpx.ASGITransport(app=self._app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        self._worker = {"Authorization": f"Bearer {settings.worker_token}"}
        self.begin_upkeep()

    @property
    def database(self) -> Database:
        """The replica's own connections."""
        found: Database = self._app.state.database
        return found

    def begin_upkeep(self) -> None:
        """The loop of a process that has just started."""
        self.upkeep = Upkeep(self.database, lambda: None)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """A request of a user, or of a worker when the path is behind its door."""
        given = (self._worker if path.startswith("/internal") else {}) | (headers or {})
        content = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        sent = self._client.request(method, path, content=content, headers=given | (kind if content else {}))
        answer = self._loop.run(sent)
        return Answer(answer.status_code, answer.json() if answer.content else None, answer.headers)

    def let_time_pass(self, seconds: float, *, ticking: bool) -> None:
        """Everything stored moves into the past, and with it what upkeep remembers; `ticking`: it ticked meanwhile."""
        pass_time(self.database, seconds)
        self.upkeep._grace_until -= seconds
        if self.upkeep._last_tick is not None and not ticking:
            self.upkeep._last_tick -= seconds

    def close(self) -> None:
        """As a process that ends: nothing of its memory is left."""
        self._loop.run(self._client.aclose())
        self._loop.close()
        self.database.close()
