"""Jobs: stop one, or make a new one of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.responses import Response

from app.contract.faults import Point, reach
from app.contract.views import Job
from app.errors import Conflict, NotFound
from app.routes import examples
from app.routes.answers import answered, body, change
from app.routes.inputs import ContextDep, DatabaseDep, JobId
from app.routes.job_answers import created, merge_patch, state_headers
from app.routes.strict import StrictRoute
from app.services import jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)


@router.post(
    "/{job}/cancel",
    status_code=202,
    response_model=Job,
    operation_id="cancel_job",
    summary="Cancel a job",
    responses={
        200: {
            "model": Job,
            "description": "It is cancelled already.",
            "content": {"application/json": {"example": examples.QUEUED_JOB | {"state": "cancelled"}}},
        },
        **change(NotFound, Conflict, example=examples.RUNNING_JOB | {"stop_requested": "cancel"}, status=202),
    },
)
def cancel_job(job: JobId, database: DatabaseDep) -> Response:
    """Wish that a job stops. 202 while the wish takes effect, 200 when it already has, 409 when the job is over.

    A running job saves a checkpoint first; it is `cancelled` when nothing of it runs any more.
    """
    with database.write() as session:
        found, already = jobs.cancel(session, job)
        reach(Point.CANCEL_BEFORE_COMMIT)
    reach(Point.CANCEL_BEFORE_ANSWER)
    return answered(found, 200 if already else 202, state_headers(found))


@router.post(
    "/{job}/retry",
    status_code=201,
    response_model=Job,
    operation_id="retry_job",
    summary="Try a job again",
    responses=change(NotFound, Conflict, example=examples.QUEUED_JOB, status=201, Location="Where the new job is."),
)
def retry_job(job: JobId, database: DatabaseDep, context: ContextDep) -> Response:
    """Make a NEW job with the same spec, which goes on from the last checkpoint of this one."""
    with database.write() as session:
        made = jobs.retry(session, job, context)
    return created(made, {})


@router.post(
    "/{job}/clone",
    status_code=201,
    response_model=Job,
    operation_id="clone_job",
    summary="Make a similar job",
    responses=body(NotFound, example=examples.QUEUED_JOB, status=201, Location="Where the new job is."),
    openapi_extra=merge_patch({"type": "object"}, examples.CLONE_PATCH),
)
def clone_job(
    job: JobId,
    database: DatabaseDep,
    context: ContextDep,
    patch: Annotated[dict[str, Any], Body(openapi_examples=examples.named([examples.CLONE_PATCH]))] = {},  # noqa: B006
) -> Response:
    """Make a NEW job from this one's spec with a JSON merge patch (RFC 7396) on it, from the first step on."""
    with database.write() as session:
        made = jobs.clone(session, job, patch, context)
    return created(made, {})
