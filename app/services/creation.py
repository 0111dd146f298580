"""A new row of the jobs table, from a spec: the same for submit, retry and clone."""

from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.distributed import fewest
from app.contract.job import JobSpec
from app.services.context import Context
from app.services.submission import resolve
from app.store import jobs
from app.store.events import News
from app.store.session import work_waits


def create(
    session: Session,
    job_id: str,
    spec: JobSpec,
    context: Context | None = None,
    *,
    cloned_from: str | None = None,
    resume_job: str | None = None,
) -> Row[Any]:
    """Check what the spec refers to, store the job with its first event, and nudge workers after the commit."""
    spec = spec.resolved()
    refers = resolve(session, spec)
    work_waits(session)
    return jobs.create(
        session,
        job_id,
        dict(spec.labels),
        [News("created", {"name": spec.name, **({"cloned_from": cloned_from} if cloned_from else {})})],
        name=spec.name,
        rank=-spec.priority,
        spec=spec.model_dump_json(),
        processes=fewest(spec.distributed),
        needs_gpu=spec.training.precision == "fp16",
        needs_extra=spec.distributed.needs_extra,
        dataset_id=refers.dataset_id,
        dataset_path=refers.dataset_path,
        dataset_sha256=refers.dataset_sha256,
        model_job=refers.model_job,
        teacher_job=refers.teacher_job,
        baseline_job=refers.baseline_job,
        cloned_from=cloned_from,
        resume_job=resume_job,
        traceparent=context.traceparent if context else None,
        request_id=context.request_id if context else None,
    )
