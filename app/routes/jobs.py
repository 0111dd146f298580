"""Jobs: submit, look, change, stop, make again."""

from functools import partial
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query
from fastapi.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.changes import Changes
from app.contract.faults import Point, reach
from app.contract.job import JobSpec
from app.contract.views import DryRun, Job, JobPage, JobPatch
from app.errors import Conflict, KeyReused, NotFound, PreconditionFailed
from app.routes import examples
from app.routes.answers import answered, body, change, read
from app.routes.conditions import etag, expected_versions, is_unchanged, wait_s
from app.routes.dry_runs import planned
from app.routes.filters import JobFiltersDep, Order, takes_labels
from app.routes.inputs import ChangesDep, ContextDep, Cursor, DatabaseDep, IdempotencyKey, JobId, PageLimit, parts_of
from app.routes.job_answers import created, digest, merge_patch, not_modified, state_headers
from app.routes.rendered import kept_answer
from app.routes.strict import StrictRoute, answered_at_once
from app.services import jobs, listing
from app.services.context import Context
from app.store.session import Database

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

SpecBody = Annotated[JobSpec, Body(openapi_examples=examples.named(JobSpec.examples))]


@router.post(
    "",
    status_code=201,
    response_model=Job,
    operation_id="submit_job",
    summary="Submit a job",
    responses={
        200: {
            "model": DryRun,
            "description": "With `dry_run`: what the job would be. Nothing was stored.",
            "content": {"application/json": {"example": examples.DRY_RUN}},
        },
        **body(
            KeyReused,
            example=examples.QUEUED_JOB,
            status=201,
            Location="Where the job is.",
            ETag="Its version.",
            Idempotency_Replayed="`true` when this key made the job before.",
        ),
    },
)
async def submit_job(
    request: Request,
    spec: SpecBody,
    database: DatabaseDep,
    changes: ChangesDep,
    context: ContextDep,
    dry_run: Annotated[bool, Query(description="Only plan: find parameters, MACs, memory; store nothing.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept a training job. The answer comes when the job is durable; work starts when a worker has room.

    With `dry_run=true` a worker plans the job within seconds; 503 with `Retry-After` says that none did, or that it
    takes longer. The plan goes on meanwhile: the same request, sent again, waits for it instead of beginning anew.
    """
    if dry_run:
        return answered(await planned(spec, database, changes, context))
    sent = digest(request.state.body)
    return created(*await run_in_threadpool(_submit, database, context, spec, idempotency_key, sent))


@router.get(
    "",
    response_model=JobPage,
    operation_id="list_jobs",
    summary="List jobs",
    responses=read(example=examples.JOB_PAGE, Link='The next page, as `rel="next"`.'),
    openapi_extra={"parameters": [examples.LABEL_PARAMETER]},
)
@takes_labels
def list_jobs(
    request: Request,
    database: DatabaseDep,
    filters: JobFiltersDep,
    order: Order = "-created_at",
    limit: PageLimit = 50,
    cursor: Cursor = None,
) -> Response:
    """Jobs by age, newest first, page by page. All filters must hold; `state` may be given more than once."""
    with database.read() as session:
        found = listing.find_jobs(session, filters, order, limit, cursor)
        body = parts_of(request).rendered.render_page(found, partial(listing.read_page, session, found))
    headers = {}
    if found.next_cursor:
        following = request.url.include_query_params(cursor=found.next_cursor)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return Response(body, headers=headers, media_type="application/json")


@router.get(
    "/{job}",
    response_model=Job,
    operation_id="get_job",
    summary="Get a job",
    responses={
        304: {"description": "Nothing changed since the version in `If-None-Match`."},
        **read(
            NotFound,
            example=examples.RUNNING_JOB,
            ETag="The job's version.",
            Retry_After="When to ask again, in seconds; absent when the job is over.",
            Preference_Applied="`wait=N` when the answer waited for a change.",
        ),
    },
)
@answered_at_once(kept_answer)
async def get_job(
    request: Request,
    job: JobId,
    database: DatabaseDep,
    changes: ChangesDep,
    if_none_match: Annotated[str | None, Header(description="Versions that you have: 304 when it is one.")] = None,
    prefer: Annotated[str | None, Header(description="`wait=25`: with If-None-Match, answer when it changes.")] = None,
) -> Response:
    """Where a job stands. To follow it, send its `ETag` back as `If-None-Match` together with `Prefer: wait=25`."""
    wanted_s = wait_s(prefer) if if_none_match else 0
    headers = {"Preference-Applied": f"wait={wanted_s}"} if wanted_s else {}
    request.state.waited = bool(wanted_s)
    version, is_over = await _version_after(request, job, if_none_match, wanted_s, database, changes)
    if is_unchanged(if_none_match, etag(version)):
        return not_modified(version, is_over, headers)
    return parts_of(request).rendered.render(await run_in_threadpool(_get, database, job), headers)


@router.patch(
    "/{job}",
    response_model=Job,
    operation_id="patch_job",
    summary="Change name, labels or priority",
    responses=body(NotFound, PreconditionFailed, example=examples.RUNNING_JOB, ETag="The new version."),
    openapi_extra=merge_patch({"$ref": "#/components/schemas/JobPatch"}, examples.PATCH),
)
def patch_job(
    job: JobId,
    patch: Annotated[JobPatch, Body(openapi_examples=examples.named([examples.PATCH]))],
    database: DatabaseDep,
    if_match: Annotated[str | None, Header(description="Change it only at this version; optional.")] = None,
) -> Response:
    """A JSON merge patch (RFC 7396): what is left out stays, a label set to null is removed.

    `If-Match` is optional, since the progress of a running job moves its version.
    """
    allowed = expected_versions(if_match)
    with database.write() as session:
        version = None if allowed is None else _only(allowed, jobs.version(session, job))
        changed = jobs.patch(session, job, patch.model_dump(exclude_unset=True), version)
    return answered(changed, headers=state_headers(changed))


@router.delete(
    "/{job}",
    status_code=204,
    operation_id="delete_job",
    summary="Delete a job",
    responses=change(NotFound, Conflict, status=204),
)
def delete_job(job: JobId, database: DatabaseDep) -> Response:
    """Delete a job that is over, with its metrics, events, logs, checkpoints and artifacts. There is no way back."""
    with database.write() as session:
        jobs.delete(session, job)
    return Response(status_code=204)


def _submit(database: Database, context: Context, spec: JobSpec, key: str | None, body_sha256: str) -> tuple[Job, bool]:
    with database.write() as session:
        row, replayed = jobs.accept(session, context, spec, key, body_sha256)
        reach(Point.SUBMIT_BEFORE_COMMIT)
    reach(Point.SUBMIT_BEFORE_ANSWER)
    with database.read() as session:
        return jobs.view(session, row), replayed


def _get(database: Database, job: str) -> Job:
    with database.read() as session:
        return jobs.get(session, job)


async def _standing_now(database: Database, job: str) -> tuple[int, bool]:
    standing = database.glances.standing(job)
    return await run_in_threadpool(_standing, database, job) if standing is None else standing


def _standing(database: Database, job: str) -> tuple[int, bool]:
    with database.read() as session:
        return jobs.standing(session, job)


def _only(allowed: list[int], current: int) -> int:
    """The one version to insist on; -1, which none has, when the current one is not allowed."""
    return current if current in allowed else -1


async def _version_after(
    request: Request, job: str, if_none_match: str | None, wanted_s: float, database: Database, changes: Changes
) -> tuple[int, bool]:
    """The job's version, once it is another than the client has or the time is over, and whether the job is.

    Holds no thread meanwhile, and ends within a second when the client leaves.
    """
    deadline = monotonic() + wanted_s
    with changes.watch(job) as watch:
        while True:
            version, is_over = await _standing_now(database, job)
            left_s = deadline - monotonic()
            if left_s <= 0 or changes.closed or not is_unchanged(if_none_match, etag(version)):
                return version, is_over
            await watch.wait(left_s)
            if await request.is_disconnected():
                return version, is_over
