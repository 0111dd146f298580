"""Registered data sets: a folder that is checked once, file by file, and pinned to what was found."""

from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.data import Folder
from app.contract.failures import Failure
from app.contract.views import Dataset, DatasetFacts, DatasetPage, DatasetSpec, UploadSource
from app.contract.work import ImportTask
from app.errors import Conflict
from app.identifiers import new_id
from app.services import uploads
from app.services.context import Context
from app.services.folders import checked_folder
from app.services.job_view import existing
from app.store import datasets, tasks
from app.store.cursors import read_cursor, write_cursor
from app.store.session import work_waits
from app.store.types import moment

PLACE = (float, str)


def add(session: Session, context: Context, spec: DatasetSpec) -> Dataset:
    """Register a folder; a worker checks it in the background. Raises `InvalidSpec` for what a listing tells.

    With the source `upload`, the set waits for its archive.
    """
    if isinstance(spec.source, UploadSource):
        return view(uploads.add(session, context.settings, spec.name))
    folder = checked_folder(context.settings, spec.source.path, "/source/path")
    row = datasets.create(session, id=new_id("ds"), name=spec.name, source=spec.source.model_dump(), path=str(folder))
    order = ImportTask(
        source=Folder(path=spec.source.path), path=str(folder), bad_image_share=context.settings.bad_image_share
    )
    tasks.create(session, new_id("task"), "import", order.model_dump(mode="json"), dataset_id=row.id)
    work_waits(session)
    return view(row)


def get(session: Session, dataset_id: str) -> Dataset:
    """One data set. Raises `NotFound`."""
    return view(existing(datasets.find(session, dataset_id), "data set"))


def list_datasets(session: Session, limit: int, cursor: str | None) -> DatasetPage:
    """Newest first. Raises `InvalidQuery` for a cursor that is none."""
    before = read_cursor("datasets", cursor, PLACE) if cursor is not None else None
    rows = datasets.page(session, before, limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    following = write_cursor("datasets", last.created_at, last.id) if last else None
    return DatasetPage(items=[view(row) for row in rows[:limit]], next_cursor=following)


def delete(session: Session, dataset_id: str) -> None:
    """Forget a data set. Its files stay where they are, unless they were uploaded: those are the service's own.

    Raises `Conflict` while a job that is not over uses it.
    """
    row = existing(datasets.lock(session, dataset_id), "data set")
    if datasets.is_used(session, dataset_id):
        raise Conflict("A job that is not over trains on this data set: cancel it first.", state=row.state)
    datasets.remove(session, dataset_id)
    uploads.remove_files(session, dataset_id)


def view(row: Row[Any]) -> Dataset:
    """The data set as users see it."""
    return Dataset(
        id=row.id,
        name=row.name,
        source=row.source,
        state=row.state,
        waiting_for="archive" if uploads.is_waiting(row) else None,
        created_at=moment(row.created_at),
        facts=row.facts and DatasetFacts.model_validate(row.facts),
        failure=row.failure and Failure.model_validate(row.failure),
    )
