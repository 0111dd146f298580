"""Archives of data sets: streamed to the storage as they come, by threads, so that others are answered meanwhile."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.contract.datasets import Dataset
from app.errors import BadRequest, Conflict, DigestMismatch, NotFound
from app.problems import InvalidParameters, ParameterProblem, UnsupportedMediaType
from app.routes import examples
from app.routes.answers import answered, body
from app.routes.inputs import ContentDigest, DatabaseDep, DatasetId, Digest
from app.routes.strict import StreamedRoute
from app.services import datasets
from app.services.uploads import Upload

PIECE_BYTES = 1 << 20
"""Written at once. What a connection brings is some 64 kB."""

MEDIA_TYPES = ("application/zip", "application/x-tar", "application/gzip", "application/octet-stream")
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
_SHA256 = re.compile(r"\s*sha-256=(?::([A-Za-z0-9+/]{43}=):|([A-Za-z0-9+/]{43}=))\s*")

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StreamedRoute)


@router.put(
    "/{dataset}/archive",
    status_code=202,
    response_model=Dataset,
    operation_id="put_dataset_archive",
    summary="Upload a data set's files",
    responses=body(
        NotFound,
        Conflict,
        DigestMismatch,
        example=examples.DATASET_UPLOADED,
        status=202,
        Location="Where the data set is.",
    ),
    openapi_extra={
        "requestBody": {"required": True, "content": dict.fromkeys(MEDIA_TYPES, _BYTES)},
    },
)
async def put_dataset_archive(
    dataset: DatasetId,
    request: Request,
    database: DatabaseDep,
    content_digest: ContentDigest = "",
    digest: Digest = "",
) -> Response:
    """Send a zip, or a tar that is plain or compressed by gzip, bzip2 or xz: of any size, chunked or with its length.

    The answer comes when all of it is stored; then a worker unpacks and checks it. A request that breaks off leaves
    nothing, and the data set waits for the next one. What is uploaded never changes: other files are another data set.
    """
    _check_headers(request)
    wanted = [*_sha256("Content-Digest", content_digest), *_sha256("Digest", digest)]
    length = request.headers.get("content-length")
    upload = await asyncio.to_thread(Upload.begin, database, dataset, int(length) if length else None)
    try:
        async for piece in _pieces(request):
            await asyncio.to_thread(upload.part.write, piece)
        row = await asyncio.to_thread(upload.finish, wanted)
    except asyncio.CancelledError:
        upload.part.close()  # here and now: a service that stops also cancels what only waits for a thread
        raise
    finally:
        await asyncio.to_thread(upload.part.close)
    return answered(datasets.view(row), 202, {"Location": f"/v1/datasets/{dataset}"})


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    gathered = bytearray()
    async for chunk in request.stream():
        gathered += chunk
        if len(gathered) >= PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _check_headers(request: Request) -> None:
    """Refuse what says that the body is something else than the archive's own bytes."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("The archive is stored as it comes: send it without Content-Encoding.")
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise UnsupportedMediaType("Send the archive's bytes as the body, not as a form: curl -T FILE, not -F.")
    if "content-range" in request.headers:
        raise BadRequest("An archive is sent as a whole: Content-Range is not understood here.")


def _sha256(header: str, value: str) -> list[bytes]:
    """Of `sha-256=:BASE64:` (RFC 9530), or without the colons (RFC 3230); other algorithms beside it are left out."""
    if not value:
        return []
    for each in value.split(","):
        if found := _SHA256.fullmatch(each):
            return [base64.b64decode(found[1] or found[2])]
    detail = "Give `sha-256=:BASE64:`, the SHA-256 of the body: no other digest is checked here."
    raise InvalidParameters([ParameterProblem(parameter=header, detail=detail, code="unknown_digest")])
