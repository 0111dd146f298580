"""Previews: what an augmentation list does to images, made by a worker through the code that trains."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app.contract.previews import Preview, PreviewSpec
from app.problems import NotAcceptable
from app.routes import examples
from app.routes.answers import body
from app.routes.inputs import ChangesDep, ContextDep, DatabaseDep
from app.routes.negotiation import preferred
from app.routes.strict import StrictRoute
from app.routes.waiting import found
from app.services import previews

router = APIRouter(prefix="/v1/previews", tags=["previews"], route_class=StrictRoute)

JSON, PNG = "application/json", "image/png"
PICTURE = {PNG: {"schema": {"type": "string", "format": "binary"}}}


def _responses() -> dict[int | str, dict[str, Any]]:
    described = body(NotAcceptable, example=examples.PREVIEW)
    described[200]["description"] = "The images with what was drawn for each; or, by `Accept`, a labelled grid of them."
    described[200]["content"] |= PICTURE
    return described


@router.post(
    "",
    response_model=Preview,
    operation_id="make_preview",
    summary="See what augmentations do",
    responses=_responses(),
)
async def make_preview(
    spec: Annotated[PreviewSpec, Body(openapi_examples=examples.named(PreviewSpec.examples))],
    database: DatabaseDep,
    changes: ChangesDep,
    context: ContextDep,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Training images exactly as a job with these fields would feed them to its network, before normalisation.

    JSON with a PNG for each image and what was drawn for it; with `Accept: image/png` one labelled picture: each image
    as it is evaluated, then as the first epochs of training show it. The same request gives the same bytes. A worker
    makes it within seconds; 503 with `Retry-After` says that none did, or that it takes longer. It goes on meanwhile:
    the same request, sent again, waits for it instead of beginning anew.
    """
    media_type = preferred(accept, (JSON, PNG))
    task, files = await found(
        lambda session: previews.begin_preview(session, context, spec),
        previews.preview_result,
        "making the preview",
        database,
        changes,
        context,
    )
    file = files.grid if media_type == PNG else files.document
    made = await run_in_threadpool(previews.content, context.settings, task, file)
    return Response(made, media_type=media_type, headers={"Vary": "Accept"})
