"""Registered data sets: a folder that is checked once, file by file, and pinned to what was found.

Each is a revision that never changes: the same name again makes the next one, with an id and a content of its own.
"""

import shutil
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.data import Folder
from app.contract.datasets import Dataset, DatasetFacts, DatasetPage, DatasetSpec, ImportProgress, UploadSource
from app.contract.failures import Failure
from app.contract.work import ImportTask
from app.errors import Conflict
from app.identifiers import new_id
from app.services import uploads
from app.services.context import Context
from app.services.folders import checked_folder
from app.services.job_view import existing
from app.store import datasets, tasks
from app.store.cursors import read_cursor, write_cursor
from app.store.session import after_commit, settings_of, work_waits
from app.store.types import moment

PLACE = (float, str)
CLASSES_IN_LISTS = 100
FILES_IN_LISTS = 10
"""A list of 200 sets of 10,000 classes each would be 40 MB."""


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
    row = existing(datasets.find(session, dataset_id), "data set")
    return view(row, _progress(session, [row]).get(dataset_id))


def list_datasets(session: Session, limit: int, cursor: str | None, name: str | None = None) -> DatasetPage:
    """Newest first, with short facts; with `name`, the revisions of it. Raises `InvalidQuery` for a wrong cursor."""
    before = read_cursor("datasets", cursor, PLACE) if cursor is not None else None
    rows = datasets.page(session, before, limit + 1, name)
    last = rows[limit - 1] if len(rows) > limit else None
    following = write_cursor("datasets", last.created_at, last.id) if last else None
    progress = _progress(session, rows[:limit])
    items = [_shortened(view(row, progress.get(row.id))) for row in rows[:limit]]
    return DatasetPage(items=items, next_cursor=following)


def delete(session: Session, dataset_id: str) -> None:
    """Forget a data set, and end its import. Its files stay where they are, unless they were uploaded: those are the
    service's own.

    Raises `Conflict` while a job that is not over uses it.
    """
    row = existing(datasets.lock(session, dataset_id), "data set")
    if datasets.is_used(session, dataset_id):
        raise Conflict("A job that is not over trains on this data set: cancel it first.", state=row.state)
    datasets.remove(session, dataset_id)
    uploads.remove_files(session, dataset_id)
    checks = settings_of(session).checks_dir(dataset_id)
    after_commit(session, partial(shutil.rmtree, checks, ignore_errors=True))


def _progress(session: Session, rows: Sequence[Row[Any]]) -> dict[str, ImportProgress]:
    importing = [row for row in rows if row.state == "importing"]
    told = datasets.progress(session, [row.id for row in importing])
    found = {dataset_id: ImportProgress.model_validate(each) for dataset_id, each in told.items()}
    coming = ((row.id, uploads.receiving(settings_of(session), row)) for row in importing)
    return found | {dataset_id: progress for dataset_id, progress in coming if progress}


def view(row: Row[Any], progress: ImportProgress | None = None) -> Dataset:
    """The data set as users see it."""
    return Dataset(
        id=row.id,
        name=row.name,
        revision=row.revision,
        source=row.source,
        state=row.state,
        waiting_for="archive" if uploads.is_waiting(row) else None,
        created_at=moment(row.created_at),
        progress=progress,
        facts=row.facts and DatasetFacts.model_validate(row.facts),
        failure=row.failure and Failure.model_validate(row.failure),
    )


def _shortened(dataset: Dataset) -> Dataset:
    if dataset.facts is None:
        return dataset
    facts = dataset.facts
    shorter = {
        "classes": dict(islice(facts.classes.items(), CLASSES_IN_LISTS)),
        "refused": facts.refused[:FILES_IN_LISTS],
        "findings": facts.findings[:FILES_IN_LISTS],
    }
    return dataset.model_copy(update={"facts": facts.model_copy(update=shorter)})
