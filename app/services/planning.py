"""Dry runs: a worker finds the plan of a spec that nobody stores."""

from sqlalchemy.orm import Session

from app.contract.failures import Failure, FailureCode
from app.contract.job import JobSpec
from app.contract.plan import Plan
from app.contract.views import DryRun
from app.contract.work import PlanTask, RunOrder
from app.errors import InvalidSpec, ServiceUnavailable
from app.identifiers import digest
from app.services.context import Context
from app.services.submission import paths, resolve
from app.store import tasks
from app.store.session import work_waits

PLAN_KEPT_S = 120.0
REFUSAL_KEPT_S = 15.0
"""For so long the same is answered again. A refusal: three times as long as `Retry-After` tells to wait, and no longer,
since whoever mends the data and asks again wants another look."""

REFUSALS = {FailureCode.BAD_SPEC.value, FailureCode.BAD_DATASET.value}


def begin_dry_run(session: Session, context: Context, spec: JobSpec) -> str:
    """Ask workers for the plan of `spec`; answers the task to wait for. Raises `InvalidSpec` as a submission would.

    The task is that of an earlier request for the same spec, if it is not over or was a moment ago: who asks again
    because a large network took too long gets what the first request began.
    """
    spec = spec.resolved()
    refers = resolve(session, spec)
    task_id = "task_" + digest(f"{spec.model_dump_json()} {refers}")[:40]
    settings = context.settings
    order = RunOrder(
        spec=spec,
        paths=paths(session, settings, settings.storage_dir / "tasks" / task_id, refers),
        devices=list(range(spec.distributed.processes)),
        time_left_s=None,
        bad_image_share=settings.bad_image_share,
    )
    _forget_old(session, task_id)
    if tasks.create_once(session, task_id, "plan", PlanTask(order=order).model_dump(mode="json")):
        work_waits(session)
    return task_id


def plan_result(session: Session, task_id: str) -> DryRun | None:
    """The plan, or None while no worker has found it (or when nobody took the task for so long that it is gone).

    Raises `InvalidSpec` when the network or the data refuse the spec, `ServiceUnavailable` when planning itself failed.
    """
    row = tasks.find(session, task_id)
    if row is None:
        return None
    if row.state == "done":
        return DryRun(spec=PlanTask.model_validate(row.input).order.spec, plan=Plan.model_validate(row.result))
    if row.state == "failed":
        raise _refusal(Failure.model_validate(row.failure))
    return None


def why_not_yet(session: Session, task_id: str, waited_s: float) -> str:
    """Why there is no plan after so many seconds, and that asking again finds the one that is being made."""
    row = tasks.find(session, task_id)
    if row is not None and row.state == "running":
        return (
            f"A worker is planning the job, and needs more than {waited_s:g} s, as large networks and data sets do. "
            "It goes on: ask again, and the answer comes when the plan is there."
        )
    return f"No worker began to plan the job within {waited_s:g} s: see GET /v1/workers. Ask again; it stays asked for."


def _forget_old(session: Session, task_id: str) -> None:
    """Data in a folder may have changed meanwhile, and planning that failed by itself is worth another try at once."""
    row = tasks.find(session, task_id)
    told = row.failure["code"] if row is not None and row.failure else None
    tasks.forget(session, task_id, "done", PLAN_KEPT_S)
    tasks.forget(session, task_id, "failed", 0.0 if told and told not in REFUSALS else REFUSAL_KEPT_S)


def _refusal(failure: Failure) -> InvalidSpec | ServiceUnavailable:
    match failure.code:
        case FailureCode.BAD_SPEC:
            return InvalidSpec(failure.message, errors=failure.errors)
        case FailureCode.BAD_DATASET:
            return InvalidSpec.at("/dataset", failure.code.value, failure.message)
    return ServiceUnavailable(f"The plan could not be made: {failure.message}", retry_after_s=5)
