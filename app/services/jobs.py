"""Jobs as their users handle them: submit, look, change, stop and let go on, delete, make again."""

import shutil
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.job import JobSpec
from app.contract.states import FINAL
from app.contract.views import Job, JobPatch
from app.errors import Conflict, InvalidSpec, KeyReused, PreconditionFailed
from app.identifiers import new_id
from app.services.again import clone, retry
from app.services.context import Context
from app.services.creation import create
from app.services.job_view import existing, get, no_such, spec_of, view
from app.services.stopping import cancel, pause, resume
from app.store import idempotency, jobs
from app.store.events import News
from app.store.session import after_commit, settings_of
from app.store.tables import jobs as table

__all__ = [
    "accept", "cancel", "clone", "delete", "get", "is_over", "once", "patch", "pause", "resume", "retry", "standing",
    "submit", "version", "view",
]  # fmt: skip

Made = TypeVar("Made", Job, Row[Any])


def submit(session: Session, context: Context, spec: JobSpec, key: str | None, body_sha256: str) -> tuple[Job, bool]:
    """Store a job; it is durable when the transaction is. With a `key` that was used for the same body: that job, True.

    Raises `KeyReused`, or `InvalidSpec` when what the spec refers to is not there.
    """
    row, replayed = accept(session, context, spec, key, body_sha256)
    return view(session, row), replayed


def accept(
    session: Session, context: Context, spec: JobSpec, key: str | None, body_sha256: str
) -> tuple[Row[Any], bool]:
    """`submit`, without the view: why the job waits can be found when other writers have their turn again."""

    def again(job_id: str) -> Row[Any]:
        return existing(jobs.find(session, job_id))

    return _once(session, key, body_sha256, lambda new: create(session, new, spec, context), again)


def once(session: Session, key: str | None, request_sha256: str, make: Callable[[str], Job]) -> tuple[Job, bool]:
    """What `make` makes under the id that it is given or, for a `key` that this request used before, that job and True.

    Raises `KeyReused` when another request used it.
    """
    return _once(session, key, request_sha256, make, lambda job_id: get(session, job_id))


def _once(
    session: Session, key: str | None, request_sha256: str, make: Callable[[str], Made], again: Callable[[str], Made]
) -> tuple[Made, bool]:
    new = new_id("job")
    while key is not None and not idempotency.take(session, key, request_sha256, new):
        first = idempotency.find(session, key)
        if first is None:
            continue  # its job was deleted between the two statements, and the key with it
        if first.body_sha256 != request_sha256:
            raise KeyReused
        return again(first.job_id), True
    return make(new), False


def version(session: Session, job_id: str) -> int:
    """Grows with every visible change. Raises `NotFound`."""
    return standing(session, job_id)[0]


def standing(session: Session, job_id: str) -> tuple[int, bool]:
    """The job's version, and whether it is over. Raises `NotFound`."""
    found = jobs.standing(session, job_id)
    if found is None:
        raise no_such()
    return found[0], found[1] in FINAL


def is_over(session: Session, job_id: str) -> bool:
    """Whether the job's state is final. Raises `NotFound`."""
    return standing(session, job_id)[1]


def patch(session: Session, job_id: str, merge_patch: dict[str, Any], if_match: int | None) -> Job:
    """Change name, labels or priority. What the patch leaves out stays; null puts the default back.

    A patch that changes nothing moves no version and is no event.
    """
    row = existing(jobs.lock(session, table.c.id == job_id))
    if if_match is not None and if_match != row.version:
        raise PreconditionFailed
    wanted = _patched(row, _checked(merge_patch))
    values = {name: value for name, value in wanted.items() if value != getattr(row, name)}
    if not values:
        return view(session, row)
    fields = sorted("priority" if name == "rank" else name for name in values)
    changed = existing(jobs.change(session, job_id, news=[News("updated", {"fields": fields})], **values))
    if "labels" in values:
        jobs.relabel(session, changed)
    return view(session, changed)


def delete(session: Session, job_id: str) -> None:
    """Remove a job that is over, with all its files. Raises `Conflict` when it is not, or another one builds on it."""
    row = existing(jobs.lock(session, table.c.id == job_id))
    if row.state not in FINAL:
        raise Conflict("The job is not over: cancel it first.", state=row.state)
    if jobs.is_needed(session, job_id):
        why = "A job that is not over starts from this one, learns from it or is compared with it."
        raise Conflict(why, state=row.state)
    jobs.remove(session, job_id)
    folder = settings_of(session).job_dir(job_id)
    after_commit(session, partial(shutil.rmtree, folder, ignore_errors=True))


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
