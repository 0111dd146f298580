"""Waiting for the plan of a dry run: a worker makes it, a few seconds away."""

from time import monotonic

from fastapi.concurrency import run_in_threadpool

from app.changes import Changes
from app.contract.job import JobSpec
from app.contract.views import DryRun
from app.errors import ServiceUnavailable
from app.services import planning
from app.services.context import Context
from app.store.session import Database

ASK_AGAIN_S = 5


async def planned(spec: JobSpec, database: Database, changes: Changes, context: Context) -> DryRun:
    """What the job would be. Raises `InvalidSpec` when a worker finds that it cannot be, `ServiceUnavailable` when no
    worker has said anything within the time of the setting."""
    task = await run_in_threadpool(_begin_plan, database, context, spec)
    deadline = monotonic() + context.settings.dry_run_wait_s
    with changes.watch(task) as watch:
        while True:
            found = await run_in_threadpool(_plan_result, database, task)
            left_s = deadline - monotonic()
            if found:
                return found
            if left_s <= 0 or changes.closed:
                detail = await run_in_threadpool(_why_not_yet, database, task, context.settings.dry_run_wait_s)
                raise ServiceUnavailable(detail, retry_after_s=ASK_AGAIN_S)
            await watch.wait(left_s)


def _begin_plan(database: Database, context: Context, spec: JobSpec) -> str:
    with database.write() as session:
        return planning.begin_dry_run(session, context, spec)


def _why_not_yet(database: Database, task: str, waited_s: float) -> str:
    with database.read() as session:
        return planning.why_not_yet(session, task, waited_s)


def _plan_result(database: Database, task: str) -> DryRun | None:
    with database.read() as session:
        return planning.plan_result(session, task)
