"""The report of a job, as JSON, Markdown or a page; and the reports of several side by side."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app.contract.comparison import Comparison
from app.contract.report import Report
from app.errors import NotFound
from app.problems import NotAcceptable
from app.routes import report_examples
from app.routes.answers import answered, read
from app.routes.conditions import etag, is_unchanged
from app.routes.inputs import DatabaseDep, JobId
from app.routes.negotiation import preferred
from app.routes.strict import StrictRoute
from app.services import comparing, history, pages
from app.store.session import Database

router = APIRouter(prefix="/v1", tags=["results"], route_class=StrictRoute)

JSON, MARKDOWN, HTML = "application/json", "text/markdown", "text/html"
ENDINGS = {MARKDOWN: "md", HTML: "html"}
FRAMES = "; frame-ancestors 'none'"  # which a page itself cannot say

IfNoneMatch = Annotated[str | None, Header(description="What you have already: 304 when it is still right.")]
JobIds = Annotated[
    str,
    Query(
        max_length=5000,
        description=f"Ids of {comparing.FEWEST} to {comparing.MOST} jobs, with commas between them.",
        examples=["job_01kab0c1d2e3f4g5h6j7k8m9np,job_01kab0c1d2e3f4g5h6j7k8m9nq"],
        json_schema_extra={"pattern": "^[a-z0-9_]+(,[a-z0-9_]+)+$"},
    ),
]


def _responses() -> dict[int | str, dict[str, Any]]:
    described = read(NotFound, NotAcceptable, example=report_examples.REPORT, ETag="Of this representation.")
    described[200]["description"] = "The report; by `Accept` as Markdown, or as a page for a browser."
    text = {"schema": {"type": "string"}}
    described[200]["content"] |= {
        MARKDOWN: text | {"example": "# digits-resnet\n\n**Succeeded.**\n"},
        HTML: text | {"example": "<!doctype html>"},
    }
    return {304: {"description": "You have it already."}, **described}


@router.get(
    "/jobs/{job}/report",
    response_model=Report,
    operation_id="get_report",
    summary="The compression report",
    responses=_responses(),
)
async def get_report(
    job: JobId,
    database: DatabaseDep,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """What compression did, measured on the exported file: size, work, latency and accuracy, before and after.

    A job that missed a gate has one too. With `Accept: text/html` a page with pictures, which a browser gets by itself:
    one file without scripts that loads nothing, to be saved and sent on; with `text/markdown` the same, no pictures.
    """
    media_type = preferred(accept, (JSON, MARKDOWN, HTML))
    body = await run_in_threadpool(_rendered, database, job, media_type)
    headers = {"ETag": etag(hashlib.sha256(body).hexdigest()[:32]), "Vary": "Accept"}
    if is_unchanged(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if media_type in ENDINGS:
        headers["Content-Disposition"] = f'inline; filename="{job}-report.{ENDINGS[media_type]}"'
    if media_type == HTML:
        headers["Content-Security-Policy"] = pages.content_security_policy() + FRAMES
    return Response(body, media_type=media_type, headers=headers)


@router.get(
    "/compare",
    response_model=Comparison,
    operation_id="compare_jobs",
    summary="Compare jobs",
    responses=read(example=report_examples.COMPARISON),
)
def compare_jobs(jobs: JobIds, database: DatabaseDep) -> Response:
    """What the models of these jobs cost, and which of them nothing beats: the numbers of a Pareto picture of accuracy
    over bytes, latency and MACs. `warnings` says which figures do not compare, and why."""
    with database.read() as session:
        return answered(comparing.compare(session, jobs.split(",")))


def _rendered(database: Database, job: str, media_type: str) -> bytes:
    with database.read() as session:
        report = history.report(session, job)
        if media_type == JSON:
            return report.model_dump_json().encode()
        page = pages.document(session, job, report)
    return (pages.as_html(page) if media_type == HTML else pages.as_markdown(page)).encode()
