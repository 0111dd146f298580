"""For those who run the service: is it alive, is it ready, and how is it doing."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from fastapi import APIRouter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from app.changes import Changes
from app.edge.measures import CONTENT_TYPE
from app.errors import ServiceUnavailable, TablesMissing
from app.queue import Nudger
from app.routes.answers import answered, opened, read
from app.routes.inputs import DatabaseDep
from app.routes.strict import StrictRoute
from app.services import housekeeping, statistics
from app.store import migrate
from app.store.session import Database

router = APIRouter(tags=["operation"], route_class=StrictRoute)

NO_KEY: dict[str, Any] = {"security": []}
"""In OpenAPI: asked for by machines that hold no API key. `edge.keys.OPEN_PATHS` lets them in."""


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The service can accept jobs. `degraded`: it can, but workers hear of them later, since the broker is away."""

    status: Literal["ok", "degraded"]
    database: Literal["ok"] = "ok"
    broker: Literal["ok", "down"] = Field(description="As the last message to it went.")


@router.get(
    "/healthz",
    response_model=Liveness,
    operation_id="get_health",
    summary="Is the process alive?",
    responses=opened({"status": "ok"}),
    openapi_extra=NO_KEY,
)
async def get_health() -> Response:
    """Answers whenever the process can; asks neither database nor broker. Restart the process when this fails."""
    return answered(Liveness())


@router.get(
    "/readyz",
    response_model=Readiness,
    operation_id="get_readiness",
    summary="Can the service do its work?",
    responses=opened({"status": "ok", "database": "ok", "broker": "ok"}),
    openapi_extra=NO_KEY,
)
def get_readiness(request: Request, database: DatabaseDep) -> Response:
    """200 when the database has the tables of this version and can be written to, else 503.

    A lost broker is 200 with `degraded`: jobs are accepted, and workers find them by asking.
    """
    if not migrate.is_current(database):
        raise TablesMissing("The database has other tables than this version needs: run `trainyard db upgrade`.")
    with database.write() as session:
        housekeeping.prove_writable(session)
    nudger: Nudger = request.app.state.nudger
    broker: Literal["ok", "down"] = "down" if nudger.broken else "ok"
    return answered(Readiness(status="ok" if broker == "ok" else "degraded", broker=broker))


@router.get(
    "/metrics",
    operation_id="get_prometheus_metrics",
    summary="Measures for Prometheus",
    response_class=Response,
    responses={
        **read(),
        200: {
            "description": "Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": "trainyard_queue_depth 3.0\n"}},
        },
    },
)
def get_prometheus_metrics(request: Request) -> Response:
    """Jobs by state, the queue, workers, nudges that failed, and the time of answers by route."""
    return Response(request.app.state.measures.render(), media_type=CONTENT_TYPE)


def stock(database: Database, nudger: Nudger, changes: Changes) -> Callable[[], Iterator[Metric]]:
    """What is read from the parts of the app at each scrape. The database being away leaves these out, and says so."""

    def collect() -> Iterator[Metric]:
        yield CounterMetricFamily("trainyard_nudges_sent", "Messages to the broker that went out.", nudger.sent)
        yield CounterMetricFamily("trainyard_nudges_failed", "Messages to the broker that did not.", nudger.failed)
        yield GaugeMetricFamily("trainyard_waiting_clients", "Open streams and long polls.", changes.waiting)
        try:
            with database.read() as session:
                found = statistics.take(session)
        except ServiceUnavailable:
            yield GaugeMetricFamily("trainyard_database_up", "Whether the database answered.", 0)
            return
        yield GaugeMetricFamily("trainyard_database_up", "Whether the database answered.", 1)
        yield from _families(found)

    return collect


def _families(found: statistics.Statistics) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("trainyard_jobs", "Jobs by state; old ones are counted up to 100,000.", labels=["state"])
    for state, count in found.jobs_by_state.items():
        jobs.add_metric([state.value], count)
    yield jobs
    yield GaugeMetricFamily("trainyard_queue_depth", "Jobs that wait for a worker.", found.queue_depth)
    yield GaugeMetricFamily("trainyard_queue_oldest_seconds", "Age of the oldest queued job.", found.oldest_queued_s)
    yield GaugeMetricFamily("trainyard_workers_alive", "Workers seen in the last minute.", found.workers_alive)
