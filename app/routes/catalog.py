"""What a job spec can say: enough for a frontend to build its form."""

import hashlib
import json
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from app.routes.answers import read
from app.routes.conditions import etag, is_unchanged
from app.routes.inputs import DatabaseDep
from app.routes.strict import StrictRoute
from app.services import catalog as services
from app.services.catalog import Catalog, ModelNames

router = APIRouter(prefix="/v1", tags=["catalog"], route_class=StrictRoute)

IfNoneMatch = Annotated[str | None, Header(description="What you have already: 304 when it is still right.")]
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "What you have is still right."}}
TAG = "Changes only with the version of the service."
CATALOG_TAG = "Changes with the version of the service, and with the workers that have optional libraries."


@router.get(
    "/catalog",
    response_model=Catalog,
    operation_id="get_catalog",
    summary="Every kind of every family",
    responses={**UNCHANGED, **read(example={"families": [], "groups": []}, ETag=CATALOG_TAG)},
)
def get_catalog(database: DatabaseDep, if_none_match: IfNoneMatch = None) -> Response:
    """Every choice that a job spec offers, with fields, types, limits, defaults and examples; and for what needs an
    optional library, which workers have it.

    Names of models are many: ask `GET /v1/catalog/models`.
    """
    with database.read() as session:
        body = services.catalog_now(session).model_dump_json().encode()
    return _cached(body, if_none_match, "application/json")


@router.get(
    "/catalog/models",
    response_model=ModelNames,
    operation_id="search_models",
    summary="Search names of models",
    responses=read(example={"items": ["resnet18", "resnet101"], "total": 74}),
)
def search_models(
    search: Annotated[str, Query(max_length=200, description="Text in the name.", examples=["resnet"])] = "",
    limit: Annotated[int, Query(ge=1, le=2000, description="Most names to answer.")] = 50,
) -> Response:
    """Names for `{"kind": "timm", "name": ...}`: those that begin with the text first, shorter before longer."""
    found = services.model_names(search, limit)
    return Response(found.model_dump_json(), media_type="application/json")


@router.get(
    "/schemas/job",
    operation_id="get_job_schema",
    summary="The JSON Schema of a job spec",
    responses={
        **UNCHANGED,
        **read(ETag=TAG),
        200: {
            "description": "JSON Schema 2020-12.",
            "content": {
                "application/schema+json": {
                    "schema": {"type": "object"},
                    "example": {"$schema": services.DIALECT, "$id": services.SCHEMA_ID, "title": "JobSpec"},
                }
            },
        },
    },
    response_class=Response,
)
async def get_job_schema(if_none_match: IfNoneMatch = None) -> Response:
    """The schema of the body of `POST /v1/jobs`, with complete examples. Rules between fields are not in it."""
    return _cached(_schema_body(), if_none_match, "application/schema+json")


def _cached(body: bytes, if_none_match: str | None, media_type: str) -> Response:
    tag = etag(hashlib.sha256(body).hexdigest()[:32])
    if is_unchanged(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, media_type=media_type, headers={"ETag": tag})


@cache
def _schema_body() -> bytes:
    return json.dumps(services.job_schema()).encode()
