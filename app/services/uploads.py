"""Uploaded data sets: an archive comes in as a stream, and a worker unpacks and checks it. Nothing is decoded here.

The files lie in a folder of their own under the storage: `archive.part` while it comes in, `archive`, and `files` when
a worker has unpacked it. Other than a registered folder they are the service's, and go with their data set.
"""

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.data import Folder
from app.contract.datasets import ImportProgress
from app.contract.work import Archive, ImportTask
from app.errors import BadRequest, Conflict, DigestMismatch
from app.identifiers import new_id
from app.services.job_view import existing
from app.services.parts import Part, is_held, received_bytes, remove_idle
from app.settings import Settings
from app.store import datasets, marks, tasks
from app.store.session import Database, after_commit, settings_of, work_waits

ARCHIVE, FILES = "archive", "files"
DELETED, TOMBSTONE = ".deleted", "deleted"
SWEEP_EVERY_S = 600.0
IDLE_S = 3600.0
"""A part that nobody has held for so long is what a process left that was killed."""


def add(session: Session, settings: Settings, name: str) -> Row[Any]:
    """Store a data set that waits for its archive."""
    made = new_id("ds")
    path = settings.uploads_dir / made / FILES
    return datasets.create(session, id=made, name=name, source={"kind": "upload"}, path=str(path))


def is_waiting(row: Row[Any]) -> bool:
    """Whether the data set's archive has still to come."""
    return row.state == "importing" and row.source["kind"] == "upload" and not row.source.get("archive")


def receiving(settings: Settings, row: Row[Any]) -> ImportProgress | None:
    """How much of the archive has come, while a request sends it: the file's own size, so nothing is written for it."""
    received = received_bytes(settings.uploads_dir / row.id) if is_waiting(row) else None
    if received is None:
        return None
    return ImportProgress(stage="receiving", files_seen=0, files=0, archive_bytes_seen=received)


@dataclass(frozen=True)
class Upload:
    """One request that sends an archive. Its methods block."""

    database: Database
    dataset_id: str
    part: Part

    @classmethod
    def begin(cls, database: Database, dataset_id: str, size_bytes: int | None) -> "Upload":
        """Make sure that the archive is welcome, `size_bytes` if that is known, before any of it is read.

        Raises `NotFound`, `Conflict`, `StorageFull`.
        """
        settings = database.settings
        _check_waits(database, dataset_id)
        part = Part(settings.uploads_dir / dataset_id, settings.min_free_bytes)
        try:
            _check_waits(database, dataset_id)  # again: another request may have ended since
            part.make_room(size_bytes or 0)
        except BaseException:
            part.close()
            raise
        return cls(database, dataset_id, part)

    def finish(self, wanted: Sequence[bytes] = ()) -> Row[Any]:
        """All of it has come, and its SHA-256 is each of `wanted`: from now on the data set is imported.

        Raises `DigestMismatch`, `Conflict`, `NotFound`, `StorageFull`.
        """
        if not self.part.size_bytes:
            raise BadRequest("The body is empty: send the archive's bytes.")
        if any(each != self.part.sha256 for each in wanted):
            raise DigestMismatch
        self.part.sync()
        with self.database.write() as session:
            return self._hand_over(session)

    def _hand_over(self, session: Session) -> Row[Any]:
        row = _waiting(datasets.lock(session, self.dataset_id))
        received = {"size_bytes": self.part.size_bytes, "sha256": self.part.sha256.hex()}
        row = datasets.name_source(session, row.id, {**row.source, ARCHIVE: received})
        # before the commit: a set that is imported has its archive. (Without the commit the next request replaces it.)
        self.part.keep(ARCHIVE)
        order = _order(settings_of(session), row)
        tasks.create(session, new_id("task"), "import", order.model_dump(mode="json"), dataset_id=row.id)
        work_waits(session)
        return row


def remove_files(session: Session, dataset_id: str) -> None:
    """After the commit, remove what was uploaded; nothing happens for a registered folder.

    The name goes first, in one step, so that neither an upload nor a worker adds to what is being removed. A process
    that dies between the commit and that step leaves a note, for `sweep`.
    """
    folder = settings_of(session).uploads_dir / dataset_id
    if folder.is_dir():
        with suppress(OSError):  # on a full disk, where removing is what helps
            (folder / TOMBSTONE).touch()
        after_commit(session, partial(_remove, folder))


def sweep(database: Database) -> None:
    """Every ten minutes, in one replica: data sets whose archive never came, and what killed processes left."""
    with database.write() as session:
        if not marks.move_every(session, "uploads", SWEEP_EVERY_S):
            return
        waiting = datasets.waiting_since(session, database.settings.upload_wait_s)
    for row in waiting:
        if is_waiting(row) and not is_held(database.settings.uploads_dir / row.id):
            with database.write() as session:
                _forget(session, row.id)
    for folder in _entries(database.settings.uploads_dir):
        _tidy(database, folder)


def _check_waits(database: Database, dataset_id: str) -> None:
    with database.read() as session:
        _waiting(datasets.find(session, dataset_id))


def _waiting(row: Row[Any] | None) -> Row[Any]:
    """The row, if its archive has still to come. Raises `NotFound`, `Conflict`."""
    row = existing(row, "data set")
    if row.source["kind"] != "upload":
        raise Conflict("This data set is a folder: nothing is uploaded to it.", state=row.state)
    if not is_waiting(row):
        raise Conflict("This data set has its archive. It never changes: make another one.", state=row.state)
    return row


def _order(settings: Settings, row: Row[Any]) -> ImportTask:
    archive = Archive(
        path=str(Path(row.path).with_name(ARCHIVE)),
        max_unpacked_bytes=settings.max_unpacked_bytes,
        min_free_bytes=settings.min_free_bytes,
    )
    return ImportTask(
        source=Folder(path=row.path), path=row.path, bad_image_share=settings.bad_image_share, archive=archive
    )


def _forget(session: Session, dataset_id: str) -> None:
    row = datasets.lock(session, dataset_id)
    if row is not None and is_waiting(row):
        datasets.remove(session, dataset_id)
        remove_files(session, dataset_id)


def _tidy(database: Database, folder: Path) -> None:
    remove_idle(folder, time.time() - IDLE_S)
    if folder.name.endswith(DELETED):
        shutil.rmtree(folder, ignore_errors=True)
    elif (folder / TOMBSTONE).exists():
        with database.read() as session:
            row = datasets.find(session, folder.name)
        if row is None or row.state == "failed":
            _remove(folder)


def _remove(folder: Path) -> None:
    gone = folder.with_name(folder.name + DELETED)
    with suppress(OSError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []
