"""What routes ask of a request: the app's parts, and parameters that several of them share."""

from typing import TYPE_CHECKING, Annotated, Protocol, cast

from fastapi import Depends, Header, Path, Query
from starlette.requests import Request

from app.changes import Changes
from app.edge.requests import request_id
from app.routes.streaming import SharedReads
from app.services.context import Context
from app.settings import Settings
from app.store.session import Database

if TYPE_CHECKING:
    from app.routes.rendered import RenderedJobs


async def _database(request: Request) -> Database:
    return cast(Database, request.app.state.database)


async def _changes(request: Request) -> Changes:
    return cast(Changes, request.app.state.changes)


class Parts(Protocol):
    """Of the app, as they stand in `app.state`."""

    database: Database
    changes: Changes
    rendered: "RenderedJobs"


def parts_of(request: Request) -> Parts:
    """For an answer that is given before the dependencies are asked."""
    return cast(Parts, request.app.state)


async def _shared_reads(request: Request) -> SharedReads:
    return cast(SharedReads, request.app.state.shared_reads)


async def _settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


async def _context(request: Request) -> Context:
    return Context(
        settings=request.app.state.settings,
        traceparent=request.state.traceparent,
        request_id=request_id(request.scope),
    )


# A route opens its own `with database.read()` or `.write()`, so the commit comes before the answer. A `yield`
# dependency would commit after it, and would hold SQLite's write lock while it queues for a thread.
DatabaseDep = Annotated[Database, Depends(_database)]
ChangesDep = Annotated[Changes, Depends(_changes)]
SharedReadsDep = Annotated[SharedReads, Depends(_shared_reads)]
SettingsDep = Annotated[Settings, Depends(_settings)]
ContextDep = Annotated[Context, Depends(_context)]

PARTS = frozenset({_database, _changes, _shared_reads, _settings, _context})
"""Dependencies that refuse nobody."""

JobId = Annotated[str, Path(description="Id of the job.", max_length=100, examples=["job_01kab0c1d2e3f4g5h6j7k8m9np"])]
DatasetId = Annotated[
    str, Path(description="Id of the data set.", max_length=100, examples=["ds_01kab0c1d2e3f4g5h6j7k8m9np"])
]
# The patterns below only describe: whoever reads the cursor refuses another one, with a better word than a pattern's.
_OPAQUE = {"pattern": "^[A-Za-z0-9_-]+$"}
_SEQ = {"pattern": "^[0-9]{1,9}$"}
Cursor = Annotated[
    str | None,
    Query(max_length=2000, description="Opaque: `next_cursor` of the page before this one.", json_schema_extra=_OPAQUE),
]
After = Annotated[
    str | None,
    Query(
        max_length=2000,
        description="Opaque: `cursor` of an earlier answer; only what is new since.",
        json_schema_extra=_OPAQUE,
    ),
]
AfterSeq = Annotated[
    str | None,
    Query(
        max_length=2000,
        description="`seq` of an event, or `cursor` of an answer: only what is new since. 0: from the first on.",
        json_schema_extra=_SEQ,
    ),
]
PageLimit = Annotated[int, Query(ge=1, le=200, description="Most items to answer.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x20-\x7e]{1,255}$",
        description="Any text of your own. The same key with the same body makes one job, however often it is sent.",
    ),
]
ContentDigest = Annotated[
    str,
    Header(
        max_length=2000,
        description="`sha-256=:BASE64:` of the body (RFC 9530): what comes as something else is refused.",
        json_schema_extra={"pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"},
    ),
]
Digest = Annotated[
    str,
    Header(
        max_length=2000,
        description="The same in its older form: `sha-256=BASE64`.",
        json_schema_extra={"pattern": "^sha-256=[A-Za-z0-9+/]{43}=$"},
    ),
]
LastEventId = Annotated[
    str | None, Header(max_length=2000, description="Sent by browsers when they reconnect: goes on behind this event.")
]
"""Read by streams alone."""
