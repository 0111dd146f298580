"""Jobs: stop one, let it go on, or make a new one of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.responses import Response

from app.contract.faults import Point, reach
from app.contract.job import JobSpec
from app.contract.views import Job
from app.errors import Conflict, KeyReused, NotFound
from app.routes import examples
from app.routes.answers import Responses, answered, body, change
from app.routes.inputs import ContextDep, DatabaseDep, IdempotencyKey, JobId
from app.routes.job_answers import created, digest, merge_patch, state_headers
from app.routes.strict import StrictRoute
from app.services import jobs

SPEC_PATCH: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"description": f"Merged into `{name}` of the spec."} for name in JobSpec.model_fields},
    "additionalProperties": False,
}

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

NEW_JOB: dict[str, Any] = {
    "example": examples.QUEUED_JOB,
    "status": 201,
    "Location": "Where the new job is.",
    "Idempotency_Replayed": "`true` when this key made the job before.",
}


def _wish(example: dict[str, Any], already: str, then: dict[str, Any]) -> Responses:
    """202 while it takes effect, 200 when it already has."""
    done = {"model": Job, "description": already, "content": {"application/json": {"example": then}}}
    return {200: done, **change(NotFound, Conflict, example=example, status=202)}


def _answer(found: Job, already: bool) -> Response:
    return answered(found, 200 if already else 202, state_headers(found))


@router.post(
    "/{job}/cancel",
    status_code=202,
    response_model=Job,
    operation_id="cancel_job",
    summary="Cancel a job",
    responses=_wish(
        examples.RUNNING_JOB | {"stop_requested": "cancel"},
        "It is cancelled already.",
        examples.QUEUED_JOB | {"state": "cancelled"},
    ),
)
def cancel_job(job: JobId, database: DatabaseDep) -> Response:
    """Wish that a job stops. 202 while the wish takes effect, 200 when it already has, 409 when the job is over.

    A running job saves a checkpoint first; it is `cancelled` when nothing of it runs any more.
    """
    with database.write() as session:
        found, already = jobs.cancel(session, job)
        reach(Point.CANCEL_BEFORE_COMMIT)
    reach(Point.CANCEL_BEFORE_ANSWER)
    return _answer(found, already)


@router.post(
    "/{job}/pause",
    status_code=202,
    response_model=Job,
    operation_id="pause_job",
    summary="Pause a job",
    responses=_wish(
        examples.RUNNING_JOB | {"stop_requested": "pause"},
        "It is paused already, or was only queued.",
        examples.PAUSED_JOB,
    ),
)
def pause_job(job: JobId, database: DatabaseDep) -> Response:
    """Hold a job back until it is resumed. A running job saves a checkpoint first, then gives its devices to others.

    202 while that takes effect, 200 when it already has, 409 when the job is over or being cancelled. The time that a
    job is paused is not part of `limits.max_duration_s`.
    """
    with database.write() as session:
        found, already = jobs.pause(session, job)
        reach(Point.PAUSE_BEFORE_COMMIT)
    reach(Point.PAUSE_BEFORE_ANSWER)
    return _answer(found, already)


@router.post(
    "/{job}/resume",
    status_code=202,
    response_model=Job,
    operation_id="resume_job",
    summary="Resume a paused job",
    responses=_wish(
        examples.RUNNING_JOB, "It is queued, at its old place, or was not paused.", examples.QUEUED_JOB | {"attempt": 1}
    ),
)
def resume_job(job: JobId, database: DatabaseDep) -> Response:
    """Let a paused job go on from its last checkpoint, as soon as a worker has room.

    200 when it is queued or running; 202 when a pause was taken back that had not come true yet: a worker that has
    heard of it still hands the job back to the queue. 409 when the job is over or being cancelled.
    """
    with database.write() as session:
        found, already = jobs.resume(session, job)
        reach(Point.RESUME_BEFORE_COMMIT)
    reach(Point.RESUME_BEFORE_ANSWER)
    return _answer(found, already)


@router.post(
    "/{job}/retry",
    status_code=201,
    response_model=Job,
    operation_id="retry_job",
    summary="Try a job again",
    responses=change(NotFound, Conflict, KeyReused, **NEW_JOB),
)
def retry_job(
    job: JobId, database: DatabaseDep, context: ContextDep, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a NEW job with the same spec, which goes on from the last checkpoint of this one."""
    with database.write() as session:
        sent = digest("retry", job)
        made = jobs.once(session, idempotency_key, sent, lambda new: jobs.retry(session, job, context, new))
    return created(*made)


@router.post(
    "/{job}/clone",
    status_code=201,
    response_model=Job,
    operation_id="clone_job",
    summary="Make a similar job",
    responses=body(NotFound, KeyReused, **NEW_JOB),
    openapi_extra=merge_patch(SPEC_PATCH, examples.CLONE_PATCH),
)
def clone_job(
    job: JobId,
    database: DatabaseDep,
    context: ContextDep,
    patch: Annotated[dict[str, Any], Body(openapi_examples=examples.named([examples.CLONE_PATCH]))] = {},  # noqa: B006
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a NEW job from this one's spec with a JSON merge patch (RFC 7396) on it, from the first step on."""
    with database.write() as session:
        sent = digest("clone", job, patch)
        made = jobs.once(session, idempotency_key, sent, lambda new: jobs.clone(session, job, patch, context, new))
    return created(*made)
