"""Dry runs: a worker finds the plan of a spec that nobody stores."""

from sqlalchemy.orm import Session

from app.contract.failures import Failure
from app.contract.job import JobSpec
from app.contract.plan import Plan
from app.contract.views import DryRun
from app.contract.work import PlanTask, RunOrder
from app.identifiers import digest
from app.services import asking
from app.services.context import Context
from app.services.submission import baseline_split, paths, resolve
from app.store import tasks


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
        paths=paths(session, settings, settings.task_dir(task_id), refers),
        baseline_split=baseline_split(session, refers),
        devices=list(range(spec.distributed.processes)),
        time_left_s=None,
        bad_image_share=settings.bad_image_share,
    )
    asking.ask(session, task_id, "plan", PlanTask(order=order), spec.distributed.needs_extra)
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
        raise asking.refusal(Failure.model_validate(row.failure), "plan")
    return None
