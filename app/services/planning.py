"""Dry runs: a worker finds the plan of a spec that nobody stores."""

from sqlalchemy.orm import Session

from app.contract.distributed import fewest, fitting
from app.contract.failures import Failure
from app.contract.job import JobSpec
from app.contract.plan import Plan
from app.contract.views import DryRun
from app.contract.work import PlanTask, RunOrder
from app.identifiers import digest
from app.services import asking
from app.services.context import Context
from app.services.submission import paths, resolve, split_of
from app.services.workers import capacities
from app.store import tasks


def begin_dry_run(session: Session, context: Context, spec: JobSpec) -> str:
    """Ask workers for the plan of `spec`; answers the task to wait for. Raises `InvalidSpec` as a submission would.

    The task is that of an earlier request for the same spec, if it is not over or was a moment ago: who asks again
    because a large network took too long gets what the first request began.
    """
    spec = spec.resolved()
    refers = resolve(session, spec)
    most = max((max(host.total(False), host.total(True)) for host in capacities(session)), default=1)
    processes = fitting(spec.distributed, most, spec.training.batch_size)
    task_id = "task_" + digest(f"{spec.model_dump_json()} {refers} {processes}")[:40]
    settings = context.settings
    order = RunOrder(
        spec=spec,
        paths=paths(session, settings, settings.task_dir(task_id), refers),
        baseline_split=split_of(session, refers.baseline_job),
        model_split=split_of(session, refers.model_job),
        teacher_split=split_of(session, refers.teacher_job),
        devices=list(range(processes)),
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
        spec, plan = PlanTask.model_validate(row.input).order.spec, Plan.model_validate(row.result)
        return DryRun(spec=spec, plan=plan.model_copy(update={"warnings": [*plan.warnings, *_too_many(session, spec)]}))
    if row.state == "failed":
        raise asking.refusal(Failure.model_validate(row.failure), "plan")
    return None


def _too_many(session: Session, spec: JobSpec) -> list[str]:
    """That the job would wait for a worker that is not there."""
    needs, needs_gpu = fewest(spec.distributed), spec.training.precision == "fp16"
    most = max((host.total(needs_gpu) for host in capacities(session)), default=0)
    if most >= needs:
        return []
    devices = "GPUs" if needs_gpu else "devices"
    return [f"The job would wait: it needs {needs} {devices}, and no worker has more than {most}."]
