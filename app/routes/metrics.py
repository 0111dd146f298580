"""The metrics of a job: a chart of all points, or only those that are new."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from app.contract.events import MetricName
from app.contract.views import MetricsPage
from app.errors import NotFound
from app.problems import InvalidParameters, ParameterProblem
from app.routes import examples
from app.routes.answers import answered, read
from app.routes.inputs import After, DatabaseDep, JobId
from app.routes.strict import StrictRoute
from app.services import metrics

router = APIRouter(prefix="/v1/jobs", tags=["results"], route_class=StrictRoute)

MAX_STEP = 2**53
Names = Annotated[
    list[MetricName] | None,
    Query(max_length=100, description="Only these metrics; may be repeated. Default: all."),
]


@router.get(
    "/{job}/metrics",
    response_model=MetricsPage,
    operation_id="get_metrics",
    summary="Metrics over the steps",
    responses=read(NotFound, example=examples.METRICS),
)
def get_metrics(
    job: JobId,
    database: DatabaseDep,
    names: Names = None,
    max_points: Annotated[
        int | None, Query(ge=1, le=100_000, description="Most buckets of each metric; default 1,000. Not with `after`.")
    ] = None,
    x_from: Annotated[int | None, Query(ge=0, le=MAX_STEP, description="First step. Not with `after`.")] = None,
    x_to: Annotated[int | None, Query(ge=0, le=MAX_STEP, description="Last step. Not with `after`.")] = None,
    after: After = None,
    limit: Annotated[int | None, Query(ge=1, le=50_000, description="Most points; default 10,000.")] = None,
) -> Response:
    """Without `after`: at most `max_points` buckets of each metric; `value` is the mean, `min` and `max` are exact.

    With `after`: the points that are new since that cursor, one by one. A step that was run again after a resume comes
    again and replaces the earlier value. NaN and infinities are the strings "NaN", "Infinity" and "-Infinity".
    """
    _check_fit(after, {"max_points": max_points, "x_from": x_from, "x_to": x_to}, limit)
    with database.read() as session:
        if after is None:
            page = metrics.chart(session, job, names, max_points or 1000, x_from, x_to)
        else:
            page = metrics.new_points(session, job, names, after, limit or 10_000)
    return answered(page)


def _check_fit(after: str | None, for_charts: dict[str, int | None], limit: int | None) -> None:
    """A parameter that the other form of the question would ignore is refused."""
    alone = "This is for charts: leave it out, or leave out `after`."
    problems = [
        ParameterProblem(parameter=name, detail=alone, code="excludes_after")
        for name, value in for_charts.items()
        if after is not None and value is not None
    ]
    if after is None and limit is not None:
        detail = "This goes with `after`: charts are limited by `max_points`."
        problems.append(ParameterProblem(parameter="limit", detail=detail, code="needs_after"))
    if problems:
        raise InvalidParameters(problems)
