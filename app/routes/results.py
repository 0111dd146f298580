"""What a job leaves: attempts, checkpoints, files."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from app.contract.views import Artifact, Attempt, CheckpointView
from app.errors import NotFound
from app.problems import RangeNotSatisfiable, problems
from app.routes import examples
from app.routes.answers import answered, read
from app.routes.conditions import etag, is_unchanged
from app.routes.inputs import DatabaseDep, JobId
from app.routes.ranges import settle_range
from app.routes.strict import StrictRoute
from app.services import history
from app.store.session import Database

router = APIRouter(prefix="/v1/jobs", tags=["results"], route_class=StrictRoute)


ArtifactName = Annotated[str, Path(max_length=100, description="Name of the file, as listed.", examples=["model.json"])]


class AttemptList(BaseModel):
    """All attempts of a job, first to last."""

    items: list[Attempt]


class CheckpointList(BaseModel):
    """All checkpoints of a job, oldest first."""

    items: list[CheckpointView]


class ArtifactList(BaseModel):
    """All files that a job left, by name."""

    items: list[Artifact]


@router.get(
    "/{job}/attempts",
    response_model=AttemptList,
    operation_id="list_attempts",
    summary="Attempts of a job",
    responses=read(NotFound, example={"items": [examples.ATTEMPT]}),
)
def list_attempts(job: JobId, database: DatabaseDep) -> Response:
    """Every try at running the job: on which worker and devices, and how it ended."""
    with database.read() as session:
        return answered(AttemptList(items=history.attempts(session, job)))


@router.get(
    "/{job}/checkpoints",
    response_model=CheckpointList,
    operation_id="list_checkpoints",
    summary="Checkpoints of a job",
    responses=read(NotFound, example={"items": [examples.CHECKPOINT]}),
)
def list_checkpoints(job: JobId, database: DatabaseDep) -> Response:
    """The durable points from which the job can go on."""
    with database.read() as session:
        return answered(CheckpointList(items=history.checkpoints(session, job)))


@router.get(
    "/{job}/artifacts",
    response_model=ArtifactList,
    operation_id="list_artifacts",
    summary="Files of a job",
    responses=read(NotFound, example={"items": [examples.ARTIFACT]}),
)
def list_artifacts(job: JobId, database: DatabaseDep) -> Response:
    """The files that the job left, with size and SHA-256. There are none before it succeeded, or missed a gate."""
    with database.read() as session:
        return answered(ArtifactList(items=history.artifacts(session, job)))


@router.get(
    "/{job}/artifacts/{name}",
    operation_id="download_artifact",
    summary="Download a file",
    response_class=FileResponse,
    responses={
        **read(NotFound),
        **problems(RangeNotSatisfiable),
        200: {
            "description": "The file, as an attachment. `ETag` is its SHA-256.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        206: {
            "description": "The part that `Range` asks for.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "You have it already."},
    },
)
async def download_artifact(request: Request, job: JobId, name: ArtifactName, database: DatabaseDep) -> Response:
    """A file that the job left. `Range` and `If-Range` are honoured, so a broken download can be gone on with."""
    path, artifact = await run_in_threadpool(_artifact, database, job, name)
    tag = etag(artifact.sha256)
    if is_unchanged(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers={"ETag": tag})
    settle_range(request.scope, tag, artifact.size_bytes)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    return FileResponse(path, media_type=artifact.media_type, filename=artifact.name, headers=headers)


def _artifact(database: Database, job: str, name: str) -> tuple[str, Artifact]:
    with database.read() as session:
        path, artifact = history.artifact_path(session, job, name)
        return str(path), artifact
