"""What the routes on jobs answer alike: the headers of a job, and how a merge patch is described."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

from app.contract.states import FINAL
from app.contract.views import Job
from app.routes.answers import answered
from app.routes.conditions import etag

MERGE_PATCH = "application/merge-patch+json"
ASK_AGAIN_S = 2
"""What `Retry-After` says of a job that is not over."""


def merge_patch(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI of a body that is a JSON merge patch (RFC 7396), under its own media type too."""
    return {"requestBody": {"content": {MERGE_PATCH: {"schema": schema, "example": example}}}}


def state_headers(job: Job) -> dict[str, str]:
    headers = {"ETag": etag(job.version)}
    return headers if job.state in FINAL else {**headers, "Retry-After": str(ASK_AGAIN_S)}


def not_modified(version: int, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    return Response(status_code=304, headers={**headers, "ETag": etag(version), "Retry-After": str(ASK_AGAIN_S)})


def created(job: Job, headers: dict[str, str]) -> Response:
    return answered(job, 201, {**headers, "Location": f"/v1/jobs/{job.id}", "ETag": etag(job.version)})
