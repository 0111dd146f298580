"""Waiting for the plan of a dry run: a worker makes it, a few seconds away."""

from app.changes import Changes
from app.contract.job import JobSpec
from app.contract.views import DryRun
from app.routes.waiting import found
from app.services import planning
from app.services.context import Context
from app.store.session import Database


async def planned(spec: JobSpec, database: Database, changes: Changes, context: Context) -> DryRun:
    """What the job would be. Raises `InvalidSpec` when a worker finds that it cannot be, `ServiceUnavailable` when no
    worker has said anything within the time of the setting."""
    _, plan = await found(
        lambda session: planning.begin_dry_run(session, context, spec),
        planning.plan_result,
        "planning the job",
        database,
        changes,
        context,
    )
    return plan
