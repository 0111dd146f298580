"""Data sets: folders of images, registered under an id and checked file by file."""

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from app.contract.datasets import Dataset, DatasetPage, DatasetSpec, SamplePage
from app.contract.file_table import COLUMNS, Part, Status
from app.errors import Conflict, NotFound
from app.problems import RangeNotSatisfiable, problems
from app.routes import examples
from app.routes.answers import answered, body, change, read
from app.routes.conditions import etag, is_unchanged
from app.routes.inputs import ContextDep, Cursor, DatabaseDep, DatasetId, PageLimit
from app.routes.ranges import settle_range
from app.routes.strict import StrictRoute
from app.services import datasets, samples
from app.services.samples import FileTable, SampleFilter
from app.store.session import Database

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)

CSV = "text/csv"
CSV_CONTENT = {CSV: {"schema": {"type": "string"}, "example": ",".join(COLUMNS) + "\r\n"}}


@router.post(
    "",
    status_code=201,
    response_model=Dataset,
    operation_id="add_dataset",
    summary="Register a data set",
    responses=body(example=examples.DATASET, status=201, Location="Where the data set is."),
)
def add_dataset(
    spec: Annotated[DatasetSpec, Body(openapi_examples=examples.named([examples.DATASET_SPEC, examples.UPLOAD_SPEC]))],
    database: DatabaseDep,
    context: ContextDep,
) -> Response:
    """Register a folder under one of the configured roots: one sub-folder per class, `train/` and `val/` with those
    inside, or any files and a `labels.csv` with the columns `path,label` (and `part`: `train` or `val`).

    A worker then reads every file; `state` is `importing` until it is `ready` or `failed`. The same name again makes
    its next `revision`: what is registered never changes. With the source `upload` the files come first:
    `PUT /v1/datasets/{id}/archive`.
    """
    with database.write() as session:
        made = datasets.add(session, context, spec)
    return answered(made, 201, {"Location": f"/v1/datasets/{made.id}"})


@router.get(
    "",
    response_model=DatasetPage,
    operation_id="list_datasets",
    summary="List data sets",
    responses=read(example={"items": [examples.DATASET], "next_cursor": None}),
)
def list_datasets(
    database: DatabaseDep,
    name: Annotated[str | None, Query(max_length=200, description="Only the revisions of this name.")] = None,
    limit: PageLimit = 50,
    cursor: Cursor = None,
) -> Response:
    """Data sets, newest first, page by page. The `facts` of a list name at most 100 classes and 10 files of a kind."""
    with database.read() as session:
        return answered(datasets.list_datasets(session, limit, cursor, name))


@router.get(
    "/{dataset}",
    response_model=Dataset,
    operation_id="get_dataset",
    summary="Get a data set",
    responses=read(NotFound, example=examples.DATASET),
)
def get_dataset(dataset: DatasetId, database: DatabaseDep) -> Response:
    """A data set with what its check found: classes, counts, sizes, the files that cannot be used, and those whose
    content is there twice: within a class, in two classes, or for training and for validation."""
    with database.read() as session:
        return answered(datasets.get(session, dataset))


@router.get(
    "/{dataset}/samples",
    response_model=SamplePage,
    operation_id="list_samples",
    summary="Files of a data set",
    responses=read(NotFound, Conflict, example={"items": [examples.SAMPLE], "next_cursor": None}),
)
def list_samples(
    dataset: DatasetId,
    database: DatabaseDep,
    label: Annotated[str | None, Query(max_length=255, description="Only files of this class.")] = None,
    part: Annotated[Part | None, Query(description="Only files of this part, where the set has two.")] = None,
    status: Annotated[Status | None, Query(description="Only files that are used, or refused.")] = None,
    limit: PageLimit = 50,
    cursor: Cursor = None,
) -> Response:
    """Every file of a data set that was checked, in its order, with class, part, size, hash, and what is wrong with it.

    A request reads a bounded part of the table: where a filter finds little, a page can be short, or empty, although
    more follow; go on with `next_cursor` until it is null.
    """
    with database.read() as session:
        found = samples.table(session, dataset)
    return answered(samples.page(found, dataset, SampleFilter(label, part, status), limit, cursor))


@router.get(
    "/{dataset}/files.csv",
    operation_id="download_files_csv",
    summary="Files of a data set as CSV",
    response_class=FileResponse,
    responses={
        **read(NotFound, Conflict),
        **problems(RangeNotSatisfiable),
        200: {"description": "The table, as an attachment. `ETag` is its SHA-256.", "content": CSV_CONTENT},
        206: {"description": "The part that `Range` asks for.", "content": CSV_CONTENT},
        304: {"description": "You have it already."},
    },
)
async def download_files_csv(request: Request, dataset: DatasetId, database: DatabaseDep) -> Response:
    """All files of a data set that was checked: RFC 4180, UTF-8, one record a file, in the order of the set.

    Columns: `path`, `label`, `part`, `status` (used, refused), `reason`, `finding` (leak, other_class, duplicate),
    `duplicate_of`, `format`, `height`, `width`, `size_bytes`, `sha256`. A cell is never changed: a name that begins
    with `=` stands there as it is, so open the table in a spreadsheet as text. `Range` is honoured.
    """
    found = await run_in_threadpool(_table, database, dataset)
    tag = etag(found.summary.sha256)
    if is_unchanged(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers={"ETag": tag})
    settle_range(request.scope, tag, found.summary.size_bytes)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    return FileResponse(found.path, media_type=CSV, filename=f"{dataset}.csv", headers=headers)


def _table(database: Database, dataset: str) -> FileTable:
    with database.read() as session:
        return samples.table(session, dataset)


@router.delete(
    "/{dataset}",
    status_code=204,
    operation_id="delete_dataset",
    summary="Forget a data set",
    responses=change(NotFound, Conflict, status=204),
)
def delete_dataset(dataset: DatasetId, database: DatabaseDep) -> Response:
    """Forget a data set that no unfinished job uses; an import that runs is ended. The files in its folder stay as
    they are; uploaded ones go."""
    with database.write() as session:
        datasets.delete(session, dataset)
    return Response(status_code=204)
