"""Previews: a worker shows what augmentations do, and leaves the pictures in the storage for a while."""

import hashlib
from pathlib import Path

from sqlalchemy.orm import Session

from app.contract.failures import Failure
from app.contract.previews import PreviewFiles, PreviewSpec, StoredFile
from app.contract.work import PreviewTask, RunOrder
from app.errors import ServiceUnavailable
from app.identifiers import digest
from app.services import asking
from app.services.context import Context
from app.services.submission import paths, resolve
from app.settings import Settings
from app.store import tasks
from app.store.session import settings_of

MOST_WAITING = 100
"""Previews that nobody has begun: more take minutes to be made, and whoever asked for the first has gone by then."""


def begin_preview(session: Session, context: Context, spec: PreviewSpec) -> str:
    """Ask workers for a preview; answers the task to wait for. Raises `InvalidSpec` as a submission would, and
    `ServiceUnavailable` when too many wait already.

    The task is that of an earlier request for the same, if it is not over or was a moment ago.
    """
    job = spec.job().resolved()
    refers = resolve(session, job)
    task_id = "task_" + digest(f"preview {spec.resolved().model_dump_json()} {refers}")[:40]
    settings = context.settings
    order = RunOrder(
        spec=job,
        paths=paths(session, settings, settings.task_dir(task_id), refers),
        bad_image_share=settings.bad_image_share,
    )
    _forget_lost(session, task_id)
    task = PreviewTask(order=order, count=spec.count, epochs=spec.epochs)
    if asking.ask(session, task_id, "preview", task) and tasks.waiting(session, "preview") > MOST_WAITING:
        raise ServiceUnavailable("Too many previews wait for a worker: see GET /v1/workers.", retry_after_s=30)
    return task_id


def preview_result(session: Session, task_id: str) -> PreviewFiles | None:
    """The files of a preview, or None while no worker has made it.

    Raises `InvalidSpec` when the data refuse the spec, `ServiceUnavailable` when it failed by itself.
    """
    row = tasks.find(session, task_id)
    if row is None:
        return None
    if row.state == "failed":
        raise asking.refusal(Failure.model_validate(row.failure), "preview")
    return PreviewFiles.model_validate(row.result) if row.state == "done" else None


def content(settings: Settings, task_id: str, file: StoredFile) -> bytes:
    """A file of a preview. Raises `ServiceUnavailable` when it is not there (any more), or is another one."""
    try:
        found = _path(settings, task_id, file).read_bytes()
    except OSError as error:
        raise ServiceUnavailable("The preview's files are not in the storage. Ask again.") from error
    if hashlib.sha256(found).hexdigest() != file.sha256:
        raise ServiceUnavailable("The preview's files in the storage are damaged. Ask again.")
    return found


def _forget_lost(session: Session, task_id: str) -> None:
    """A preview whose files are gone is made anew. Their content is checked later, outside of this transaction."""
    row = tasks.find(session, task_id)
    if row is None or row.state != "done":
        return
    files = PreviewFiles.model_validate(row.result)
    if not all(_is_there(settings_of(session), task_id, file) for file in (files.grid, files.document)):
        tasks.forget(session, task_id, "done", 0.0)


def _is_there(settings: Settings, task_id: str, file: StoredFile) -> bool:
    try:
        return _path(settings, task_id, file).stat().st_size == file.size_bytes
    except OSError:
        return False


def _path(settings: Settings, task_id: str, file: StoredFile) -> Path:
    return settings.task_dir(task_id) / file.sha256
