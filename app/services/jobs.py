"""Jobs as their users handle them: submit, look, change, stop, delete, make again."""

import shutil
from functools import partial
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.job import JobSpec
from app.contract.states import ACTIVE, FINAL, JobState, StopWish
from app.contract.views import Job, JobPatch
from app.errors import Conflict, InvalidSpec, KeyReused, PreconditionFailed
from app.identifiers import new_id
from app.services.again import clone, retry
from app.services.context import Context
from app.services.creation import create
from app.services.job_view import existing, get, spec_of, view
from app.store import idempotency, jobs
from app.store.events import News
from app.store.session import after_commit, settings_of
from app.store.tables import jobs as table
from app.store.types import now

__all__ = ["cancel", "clone", "delete", "get", "patch", "retry", "submit", "version"]


def submit(session: Session, context: Context, spec: JobSpec, key: str | None, body_sha256: str) -> tuple[Job, bool]:
    """Store a job; it is durable when the transaction is. With a `key` that was used for the same body: that job, True.

    Raises `KeyReused`, or `InvalidSpec` when what the spec refers to is not there.
    """
    job_id = new_id("job")
    while key is not None and not idempotency.take(session, key, body_sha256, job_id):
        first = idempotency.find(session, key)
        if first is None:
            continue  # its job was deleted between the two statements, and the key with it
        if first.body_sha256 != body_sha256:
            raise KeyReused
        return get(session, first.job_id), True
    return view(session, create(session, job_id, spec, context)), False


def version(session: Session, job_id: str) -> int:
    """Grows with every visible change. Raises `NotFound`."""
    found = jobs.version(session, job_id)
    return existing(jobs.find(session, job_id)).version if found is None else found


def patch(session: Session, job_id: str, merge_patch: dict[str, Any], if_match: int | None) -> Job:
    """Change name, labels or priority. What the patch leaves out stays; null puts the default back."""
    row = existing(jobs.lock(session, table.c.id == job_id))
    if if_match is not None and if_match != row.version:
        raise PreconditionFailed
    values = _patched(row, _checked(merge_patch))
    changed = jobs.change(session, job_id, news=[News("updated", {"fields": sorted(merge_patch)})], **values)
    changed = existing(changed)
    if "labels" in values:
        jobs.relabel(session, changed)
    return view(session, changed)


def delete(session: Session, job_id: str) -> None:
    """Remove a job that is over, with all its files. Raises `Conflict` when it is not, or another one builds on it."""
    row = existing(jobs.lock(session, table.c.id == job_id))
    if row.state not in FINAL:
        raise Conflict("The job is not over: cancel it first.", state=row.state)
    if jobs.is_needed(session, job_id):
        raise Conflict("A job that is not over starts from this one's model or checkpoint.", state=row.state)
    jobs.remove(session, job_id)
    folder = settings_of(session).job_dir(job_id)
    after_commit(session, partial(shutil.rmtree, folder, ignore_errors=True))


def cancel(session: Session, job_id: str) -> tuple[Job, bool]:
    """Wish that the job stops. True: it is cancelled. False: its worker is being told, and then it will be.

    Raises `Conflict` when it succeeded or failed.
    """
    row = existing(jobs.lock(session, table.c.id == job_id))
    changed: Row[Any] | None = row
    if row.state == JobState.QUEUED:
        changed = jobs.enter(session, job_id, JobState.CANCELLED, table.c.state == JobState.QUEUED, finished_at=now())
    elif row.state in ACTIVE and row.stop_requested is None:
        told = [News("stop_requested", {"stop": StopWish.CANCEL.value})]
        changed = jobs.change(
            session, job_id, table.c.state.in_(ACTIVE), news=told, stop_requested=StopWish.CANCEL.value
        )
    row = existing(changed)
    if row.state in FINAL - {JobState.CANCELLED}:
        raise Conflict(f"The job has {row.state}: there is nothing to cancel.", state=row.state)
    return view(session, row), row.state == JobState.CANCELLED


def _checked(merge_patch: dict[str, Any]) -> dict[str, Any]:
    try:
        return JobPatch.model_validate(merge_patch).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise InvalidSpec.of(error, merge_patch, JobPatch) from error


def _patched(row: Any, merge_patch: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "name" in merge_patch:
        values["name"] = merge_patch["name"] or _default_name(row)
    if "priority" in merge_patch:
        values["rank"] = -(merge_patch["priority"] or 0)
    if "labels" in merge_patch:
        values["labels"] = _merged_labels(row.labels, merge_patch["labels"])
    return values


def _merged_labels(before: dict[str, str], patch: dict[str, str | None] | None) -> dict[str, str]:
    if patch is None:
        return {}
    merged = {key: value for key, value in {**before, **patch}.items() if value is not None}
    if len(merged) > 64:
        raise InvalidSpec.at("/labels", "too_long", "A job has at most 64 labels: remove some by setting them to null.")
    return merged


def _default_name(row: Any) -> str:
    return spec_of(row.spec).model_copy(update={"name": ""}).resolved().name
