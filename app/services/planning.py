"""Dry runs: a worker finds the plan of a spec that nobody stores."""

from sqlalchemy.orm import Session

from app.contract.failures import Failure, FailureCode
from app.contract.job import JobSpec
from app.contract.plan import Plan
from app.contract.views import DryRun
from app.contract.work import PlanTask, RunOrder
from app.errors import InvalidSpec, ServiceUnavailable
from app.identifiers import new_id
from app.services.context import Context
from app.services.job_view import existing
from app.services.submission import paths, resolve
from app.store import tasks
from app.store.session import work_waits


def begin_dry_run(session: Session, context: Context, spec: JobSpec) -> str:
    """Ask workers for the plan of `spec`; answers the task to wait for. Raises `InvalidSpec` as a submission would."""
    spec = spec.resolved()
    refers = resolve(session, spec)
    task_id = new_id("task")
    settings = context.settings
    order = RunOrder(
        spec=spec,
        paths=paths(session, settings, settings.storage_dir / "tasks" / task_id, refers),
        devices=list(range(spec.distributed.processes)),
        time_left_s=None,
        bad_image_share=settings.bad_image_share,
    )
    tasks.create(session, task_id, "plan", PlanTask(order=order).model_dump(mode="json"))
    work_waits(session)
    return task_id


def plan_result(session: Session, task_id: str) -> DryRun | None:
    """The plan, or None while no worker has found it.

    Raises `InvalidSpec` when the network or the data refuse the spec, `ServiceUnavailable` when planning itself failed.
    """
    row = existing(tasks.find(session, task_id), "plan")
    if row.state == "done":
        return DryRun(spec=PlanTask.model_validate(row.input).order.spec, plan=Plan.model_validate(row.result))
    if row.state == "failed":
        raise _refusal(Failure.model_validate(row.failure))
    return None


def _refusal(failure: Failure) -> InvalidSpec | ServiceUnavailable:
    match failure.code:
        case FailureCode.BAD_SPEC:
            return InvalidSpec(failure.message, errors=failure.errors)
        case FailureCode.BAD_DATASET:
            return InvalidSpec.at("/dataset", failure.code.value, failure.message)
    return ServiceUnavailable(f"The plan could not be made: {failure.message}", retry_after_s=5)
