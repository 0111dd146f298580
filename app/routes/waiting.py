"""Waiting for what a worker finds or makes: the answer comes within seconds, or 503 says why not and goes on."""

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from app.changes import Changes
from app.errors import ServiceUnavailable
from app.services import asking
from app.services.context import Context
from app.store.session import Database

ASK_AGAIN_S = 5

T = TypeVar("T")


async def found(
    begin: Callable[[Session], str],
    look: Callable[[Session, str], T | None],
    doing: str,
    database: Database,
    changes: Changes,
    context: Context,
) -> tuple[str, T]:
    """The task that `begin` asks for, and what `look` finds of it. Holds no thread and no session while it waits.

    Raises what either raises, and `ServiceUnavailable` when there is nothing within the time of the setting: `doing`
    says what a worker would be at, as in "planning the job".
    """
    waited_s = context.settings.dry_run_wait_s
    task = await run_in_threadpool(_begun, database, begin)
    deadline = monotonic() + waited_s
    with changes.watch(task) as watch:
        while True:
            result: T | None = await run_in_threadpool(_seen, database, look, task)
            left_s = deadline - monotonic()
            if result is not None:
                return task, result
            if left_s <= 0 or changes.closed:
                detail = await run_in_threadpool(_why_not_yet, database, task, doing, waited_s)
                raise ServiceUnavailable(detail, retry_after_s=ASK_AGAIN_S)
            await watch.wait(left_s)


def _begun(database: Database, begin: Callable[[Session], str]) -> str:
    with database.write() as session:
        return begin(session)


def _seen(database: Database, look: Callable[[Session, str], T | None], task: str) -> T | None:
    with database.read() as session:
        return look(session, task)


def _why_not_yet(database: Database, task: str, doing: str, waited_s: float) -> str:
    with database.read() as session:
        return asking.why_not_yet(session, task, doing, waited_s)
