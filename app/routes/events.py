"""What happened, to one job or to all: page by page, or as it happens."""

import json
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app.changes import EVERY_JOB
from app.contract.views import EventPage
from app.errors import NotFound
from app.routes import examples
from app.routes.answers import Responses, answered, read
from app.routes.inputs import After, AfterSeq, ChangesDep, DatabaseDep, JobId, LastEventId, SharedReadsDep
from app.routes.streaming import EVENT_STREAM, NOTHING, Batch, Look, SharedReads, follow, message, stream, wants_stream
from app.routes.strict import StrictRoute
from app.services import history, jobs
from app.store.session import Database

router = APIRouter(prefix="/v1", tags=["events"], route_class=StrictRoute)

PAGE = 500
Limit = Annotated[int, Query(ge=1, le=1000, description="Most events of one page; a stream has no end to its pages.")]
Accept = Annotated[str | None, Header(include_in_schema=False)]


def _described(responses: Responses, example: str) -> Responses:
    """The same 200 as a stream."""
    content = responses[200]["content"]
    content[EVENT_STREAM] = {"schema": {"type": "string"}, "example": example}
    return responses


@router.get(
    "/jobs/{job}/events",
    response_model=EventPage,
    operation_id="get_job_events",
    summary="Events of a job",
    responses=_described(
        read(NotFound, example=examples.EVENTS),
        f"id: 1\nevent: submitted\ndata: {json.dumps(examples.EVENT)}\n\n",
    ),
)
async def get_job_events(
    job: JobId,
    database: DatabaseDep,
    changes: ChangesDep,
    shared: SharedReadsDep,
    after: AfterSeq = None,
    limit: Limit = PAGE,
    accept: Accept = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Events in order of `seq`. With `Accept: text/event-stream` they are streamed as they happen.

    The stream can be resumed with `Last-Event-ID`, sends a comment when there is nothing to say, and ends when the job
    is over and all was said. A place behind the last event is refused: an answer never gave it.
    """
    if not wants_stream(accept):
        page, _ = await run_in_threadpool(_page, database, job, after, limit)
        return answered(page)
    place = last_event_id or after
    await run_in_threadpool(_page, database, job, place, 1)  # an unknown job is a 404, not a broken stream

    return stream(follow(_job_look(database, shared, job, place, limit), changes, job))


@router.get(
    "/events",
    response_model=EventPage,
    operation_id="get_events",
    summary="Events of all jobs",
    responses=_described(
        read(example=examples.EVENTS),
        f"id: eyJwIjoxfQ\nevent: submitted\ndata: {json.dumps(examples.EVENT)}\n\n",
    ),
)
async def get_events(
    database: DatabaseDep,
    changes: ChangesDep,
    shared: SharedReadsDep,
    after: After = None,
    limit: Limit = PAGE,
    accept: Accept = None,
    last_event_id: LastEventId = None,
) -> Response:
    """One connection for a whole page of jobs. The cursor reads only what can no longer be overtaken.

    The stream goes on until the client leaves. Several events that were read together share one `id`, on the last.
    """
    if not wants_stream(accept):
        return answered(await run_in_threadpool(_page_of_all, database, after, limit))
    place = last_event_id or after
    await run_in_threadpool(_page_of_all, database, place, 1)  # a cursor that cannot be read is a 422

    async def look() -> Batch:
        nonlocal place
        batch, place = await shared.read(_batch_of_all, database, place, limit)
        return batch

    return stream(follow(look, changes, EVERY_JOB))


def _job_look(database: Database, shared: SharedReads, job: str, place: str | None, limit: int) -> Look:
    """Looks for new events of a job. Costs next to nothing while its version stays: every event moves that."""
    seen: tuple[int, bool] | None = None

    async def look() -> Batch:
        nonlocal place, seen
        standing = database.glances.standing(job)
        if standing is not None and standing == seen:
            return NOTHING
        batch, place = await shared.read(_batch, database, job, place, limit)
        seen = None if batch.more else standing
        return batch

    return look


def _batch(database: Database, job: str, after: str | None, limit: int) -> tuple[Batch, str]:
    page, is_over = _page(database, job, after, limit)
    messages = [message(event.type, event.model_dump_json(), str(event.seq)) for event in page.items]
    is_full = len(page.items) == limit
    return Batch(messages, more=is_full, over=is_over and not is_full), page.cursor


def _batch_of_all(database: Database, after: str | None, limit: int) -> tuple[Batch, str]:
    page = _page_of_all(database, after, limit)
    last = len(page.items) - 1
    messages = [
        message(event.type, event.model_dump_json(), page.cursor if index == last else None)
        for index, event in enumerate(page.items)
    ]
    return Batch(messages, more=len(page.items) == limit, over=False), page.cursor


def _page(database: Database, job: str, after: str | None, limit: int) -> tuple[EventPage, bool]:
    """Events, and whether the job was over before they were read: then the last of them is the last of all."""
    with database.read() as session:
        is_over = jobs.is_over(session, job)
        return history.events(session, job, after, limit), is_over


def _page_of_all(database: Database, after: str | None, limit: int) -> EventPage:
    with database.read() as session:
        return history.all_events(session, after, limit)
