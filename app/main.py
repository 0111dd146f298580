"""create_app(): the only place where the service is put together. Importing this does nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from app import problems, queue
from app.changes import Changes
from app.edge import log_setup
from app.edge.bodies import BodyLimit
from app.edge.cors import Cors
from app.edge.guards import Hosts, Origins
from app.edge.headers import SafeHeaders
from app.edge.heads import Heads
from app.edge.keys import Keys
from app.edge.measures import HttpMeasures
from app.edge.requests import Requests
from app.edge.shutdown import streams_end_first
from app.routes import (
    catalog,
    datasets,
    events,
    health,
    internal,
    job_actions,
    jobs,
    logs,
    metrics,
    openapi,
    previews,
    reports,
    results,
    uploads,
    workers,
)
from app.routes.rendered import RenderedJobs
from app.routes.streaming import SharedReads
from app.services.keys import PREFIX, Door
from app.settings import Settings, load
from app.store.session import Database
from app.upkeep import Upkeep

VERSION = "0.1.0"
ROUTERS = (
    jobs,
    job_actions,
    metrics,
    events,
    logs,
    results,
    reports,
    datasets,
    uploads,
    previews,
    catalog,
    workers,
    health,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service for these settings (default: those of the environment). Nothing runs before it is served."""
    settings = settings or load()
    log_setup.set_up(settings.log_format)
    changes = Changes()
    nudger = queue.connect(settings.broker)
    database = Database(settings.database, settings, on_change=changes.wake, on_work=queue.nudge)
    measures = HttpMeasures()
    measures.collect_from(health.stock(database, nudger, changes))
    app = FastAPI(
        title="Trainyard",
        version=VERSION,
        docs_url=None,  # the pages load scripts from elsewhere, which our CSP forbids
        redoc_url=None,
        middleware=_layers(settings, measures, Door(database)),
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    for name, part in {
        "settings": settings,
        "changes": changes,
        "database": database,
        "measures": measures,
        "nudger": nudger,
        "shared_reads": SharedReads(changes),
        "rendered": RenderedJobs(),
    }.items():
        setattr(app.state, name, part)
    problems.install(app)
    for module in (*ROUTERS, internal):
        # not include_router: it matches each request twice, 30 to 100 µs
        app.router.routes.extend(module.router.routes)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app


def _layers(settings: Settings, measures: HttpMeasures, door: Door) -> list[Middleware]:
    """Outermost first. What refuses stands inside what adds headers, so that refusals carry them too."""
    origins = frozenset(settings.cors_origins)
    cors = [Middleware(Cors, origins=origins)] if origins else []
    return [
        Middleware(Requests, measures=measures),
        Middleware(SafeHeaders),
        Middleware(Hosts, allowed=frozenset(settings.allowed_hosts)),
        *cors,
        Middleware(Origins, allowed=origins),
        Middleware(problems.Unexpected),
        Middleware(Keys, admit=door.admit, prefix=PREFIX, required=settings.require_keys),
        Middleware(BodyLimit, limit_bytes=settings.max_body_bytes, archive_bytes=settings.max_archive_bytes),
        Middleware(Heads),
    ]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    database: Database = app.state.database
    with streams_end_first(app.state.changes):
        upkeep = Upkeep(database)
        await run_in_threadpool(upkeep.start)
        try:
            yield
        finally:
            await run_in_threadpool(upkeep.stop)
            queue.disconnect()
            database.close()
