"""The log of a job: the last lines, the next lines, or the lines as they are written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app.changes import Changes
from app.contract.views import LogLine
from app.errors import NotFound
from app.problems import InvalidParameters, ParameterProblem
from app.routes import examples
from app.routes.answers import read
from app.routes.inputs import ChangesDep, DatabaseDep, JobId, LastEventId, SettingsDep
from app.routes.streaming import EVENT_STREAM, Batch, accepts, follow, message, stream
from app.routes.strict import StrictRoute
from app.services import jobs, logs
from app.services.logs import Level, LogCursor, LogFilter, LogPage
from app.store.session import Database

router = APIRouter(prefix="/v1/jobs", tags=["results"], route_class=StrictRoute)

NDJSON = "application/x-ndjson"
TEXT = "text/plain"
FOLLOW_LINES = 500
CURSOR = "^[0-9]{1,9}:[0-9]{1,15}$"
_LINE = LogLine.model_validate(examples.LOG_LINE)


def _as_text(line: LogLine) -> str:
    rank = "" if line.rank is None else f" rank {line.rank}"
    time = line.time.isoformat().replace("+00:00", "Z")
    return f"{time} {line.level.upper():<7} [attempt {line.attempt}{rank}] {line.message}\n"


CONTENT = {
    NDJSON: {"schema": {"type": "string"}, "example": _LINE.model_dump_json() + "\n"},
    TEXT: {"schema": {"type": "string"}, "example": _as_text(_LINE)},
    EVENT_STREAM: {
        "schema": {"type": "string"},
        "example": f"id: 1:160\nevent: log\ndata: {_LINE.model_dump_json()}\n\n",
    },
}


@dataclass(frozen=True)
class Place:
    """Which part of the log: the last `tail` lines, or at most `limit` lines behind `cursor`."""

    cursor: LogCursor
    tail: int | None
    limit: int = FOLLOW_LINES


async def _place(
    after: Annotated[
        str | None,
        Query(
            max_length=40, description="`X-Next-Cursor` of an earlier answer.", json_schema_extra={"pattern": CURSOR}
        ),
    ] = None,
    tail: Annotated[int | None, Query(ge=1, le=10_000, description="Only the last lines. Not with `after`.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Most lines of one answer.")] = 1000,
) -> Place:
    if tail is not None and after is not None:
        raise _refused("tail", "excludes_after", "Leave out `tail` or `after`.")
    return Place(_cursor(after), tail, limit)


async def _filter(
    rank: Annotated[int | None, Query(ge=0, le=100_000, description="Only lines of this rank.")] = None,
    level: Annotated[Level, Query(description="Only lines of this level or above.")] = "debug",
    search: Annotated[str, Query(max_length=200, description="Only lines with this text in them, in any case.")] = "",
) -> LogFilter:
    return LogFilter(rank, level, search)


@router.get(
    "/{job}/logs",
    operation_id="get_logs",
    summary="Log lines",
    response_class=Response,
    responses={
        **read(NotFound),
        200: {
            "description": "Log lines, in the order in which they were written, over all attempts.",
            "content": CONTENT,
            "headers": {"X-Next-Cursor": {"description": "`after` for what follows.", "schema": {"type": "string"}}},
        },
    },
)
async def get_logs(
    job: JobId,
    place: Annotated[Place, Depends(_place)],
    wanted: Annotated[LogFilter, Depends(_filter)],
    database: DatabaseDep,
    settings: SettingsDep,
    changes: ChangesDep,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """NDJSON, or text with `Accept: text/plain`; with `Accept: text/event-stream` lines follow until the job is over.

    A request reads a bounded part of the log: where a filter finds little, the answer can be short although more
    follows; go on with `X-Next-Cursor` until an answer is empty and the cursor stands still.
    """
    await run_in_threadpool(_is_over, database, job)  # an unknown job is a 404, not an empty log
    folder = settings.job_dir(job)
    if accepts(accept, EVENT_STREAM):
        resumed = Place(_cursor(last_event_id), None) if last_event_id else place
        return _followed(folder, job, database, changes, wanted, resumed)
    page = await run_in_threadpool(_read, folder, place, wanted)
    return _rendered(page, as_text=accepts(accept, TEXT) > accepts(accept, NDJSON))


def _followed(
    folder: Path, job: str, database: Database, changes: Changes, wanted: LogFilter, place: Place
) -> Response:
    async def look() -> Batch:
        nonlocal place
        is_over = await run_in_threadpool(_is_over, database, job)  # before the read: what follows it is the last
        page = await run_in_threadpool(_read, folder, place, wanted)
        place = Place(page.cursor, None, FOLLOW_LINES)
        messages = [message("log", line.model_dump_json(), str(place)) for place, line in page.lines]
        return Batch(messages, more=not page.at_end, over=is_over and page.at_end)

    return stream(follow(look, changes, job))


def _read(folder: Path, place: Place, wanted: LogFilter) -> LogPage:
    if place.tail is not None:
        return logs.read_tail(folder, place.tail, wanted)
    return logs.read_after(folder, place.cursor, wanted, place.limit)


def _rendered(page: LogPage, as_text: bool) -> Response:
    lines = (_as_text(line) if as_text else line.model_dump_json() + "\n" for _, line in page.lines)
    body = "".join(lines).encode("utf-8", "replace")
    return Response(body, media_type=TEXT if as_text else NDJSON, headers={"X-Next-Cursor": str(page.cursor)})


def _cursor(text: str | None) -> LogCursor:
    if text is None:
        return LogCursor()
    cursor = LogCursor.parse(text)
    if cursor is None:
        raise _refused("after", "bad_cursor", "This is no cursor of ours: send `X-Next-Cursor` as it was given.")
    return cursor


def _refused(parameter: str, code: str, detail: str) -> InvalidParameters:
    return InvalidParameters([ParameterProblem(parameter=parameter, code=code, detail=detail)])


def _is_over(database: Database, job: str) -> bool:
    with database.read() as session:
        return jobs.is_over(session, job)
