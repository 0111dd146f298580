"""The OpenAPI document: what FastAPI derives from the routes, and the parts that it does not know of."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.contract.views import DryRun
from app.problems import ProblemDocument

DESCRIPTION = """Train image models on your own GPUs: submit a job, follow it, download the compressed model.

Ids are made by the service and sort by time. Times are RFC 3339 in UTC, durations end in `_s`, sizes in `_bytes`.
Every refusal is `application/problem+json` (RFC 9457); `errors` points into the body with JSON Pointers. Unknown fields
and unknown query parameters are refused. Requests may carry `X-Request-Id` and `traceparent`; answers say the former.

Over loopback no API key is needed, unless the service says so; over every other address it is `Authorization: Bearer
KEY`, with the scope `read` for GET and HEAD and `write` for all else.
"""
TAGS = [
    {"name": "jobs", "description": "Submit jobs, look at them, stop them, make similar ones."},
    {"name": "results", "description": "What jobs leave: metrics, logs, files, the report."},
    {"name": "events", "description": "What happens, as it happens."},
    {"name": "datasets", "description": "Data sets by id, checked file by file."},
    {"name": "previews", "description": "What augmentations do to images, seen before anything is trained."},
    {"name": "catalog", "description": "All that a job spec can say."},
    {"name": "workers", "description": "Who trains."},
    {"name": "operation", "description": "For those who run the service."},
]

API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "trainyard_...",
    "description": "Made on the service's host: `trainyard keys create NAME`. A browser's EventSource cannot send it: "
    "read streams with fetch.",
}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, tags=TAGS, routes=app.routes
        )
        app.openapi_schema = _completed(schema)
    return app.openapi_schema


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    """With the models that routes refer to by hand."""
    _, extra = models_json_schema(
        [(ProblemDocument, "serialization"), (DryRun, "serialization")], ref_template="#/components/schemas/{model}"
    )
    for name, model in extra.get("$defs", {}).items():
        schema["components"]["schemas"].setdefault(name, model)
    schema["info"]["license"] = {"name": "MIT"}
    schema["components"]["securitySchemes"] = {"api_key": API_KEY}
    schema["security"] = [{"api_key": []}, {}]  # the second: none, over loopback
    return schema
