"""Data sets: folders of images, registered under an id and checked file by file."""

from typing import Annotated

from fastapi import APIRouter, Body
from starlette.responses import Response

from app.contract.views import Dataset, DatasetPage, DatasetSpec
from app.errors import Conflict, NotFound
from app.routes import examples
from app.routes.answers import answered, body, change, read
from app.routes.inputs import ContextDep, Cursor, DatabaseDep, DatasetId, PageLimit
from app.routes.strict import StrictRoute
from app.services import datasets

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)


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
    """Register a folder under one of the configured roots: one sub-folder per class, or `train/` and `val/`.

    A worker then reads every file; `state` is `importing` until it is `ready` or `failed`. With the source `upload` the
    files come first: `PUT /v1/datasets/{id}/archive`.
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
def list_datasets(database: DatabaseDep, limit: PageLimit = 50, cursor: Cursor = None) -> Response:
    """Data sets, newest first, page by page."""
    with database.read() as session:
        return answered(datasets.list_datasets(session, limit, cursor))


@router.get(
    "/{dataset}",
    response_model=Dataset,
    operation_id="get_dataset",
    summary="Get a data set",
    responses=read(NotFound, example=examples.DATASET),
)
def get_dataset(dataset: DatasetId, database: DatabaseDep) -> Response:
    """A data set with what its check found: classes, counts, sizes, and the files that cannot be used."""
    with database.read() as session:
        return answered(datasets.get(session, dataset))


@router.delete(
    "/{dataset}",
    status_code=204,
    operation_id="delete_dataset",
    summary="Forget a data set",
    responses=change(NotFound, Conflict, status=204),
)
def delete_dataset(dataset: DatasetId, database: DatabaseDep) -> Response:
    """Forget a data set that no unfinished job uses. The files in its folder stay as they are; uploaded ones go."""
    with database.write() as session:
        datasets.delete(session, dataset)
    return Response(status_code=204)
