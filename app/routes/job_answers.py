"""What the routes on jobs answer alike: the headers of a job, and how a merge patch is described."""

import hashlib
import json
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
    return {
        "requestBody": {
            "content": {"application/json": {"schema": schema}, MERGE_PATCH: {"schema": schema, "example": example}}
        }
    }


def state_headers(job: Job) -> dict[str, str]:
    """Of an answer that shows a job as it is now."""
    return version_headers(job.version, job.state in FINAL)


def version_headers(version: int, is_over: bool) -> dict[str, str]:
    """The version, and when to ask again: never, when the job is over."""
    headers = {"ETag": etag(version)}
    return headers if is_over else {**headers, "Retry-After": str(ASK_AGAIN_S)}


def not_modified(version: int, is_over: bool, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """304: the job is as it was when it had this version."""
    return Response(status_code=304, headers={**headers, **version_headers(version, is_over)})


def created(job: Job, replayed: bool) -> Response:
    """201 with the new job, or with the one that the same request made before."""
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    return answered(job, 201, {**headers, "Location": f"/v1/jobs/{job.id}", "ETag": etag(job.version)})


def digest(*sent: Any) -> str:
    """What makes two requests the same: the values that they send, not their spelling."""
    canonical = json.dumps(sent[0] if len(sent) == 1 else sent, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
