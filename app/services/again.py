"""New jobs from old ones. A final state never changes, so trying again makes a job of its own."""

from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.job import JobSpec
from app.contract.states import FINAL, JobState
from app.contract.views import Job
from app.errors import Conflict, InvalidSpec
from app.identifiers import new_id
from app.services.context import Context
from app.services.creation import create
from app.services.job_view import existing, spec_of, view
from app.store import datasets, files, jobs

_NOT_OVER = "The job is not over: cancel it first, or wait."


def retry(session: Session, job_id: str, context: Context | None = None, new: str | None = None) -> Job:
    """A new job (`new` is its id) with the same spec that goes on from its last checkpoint.

    Raises `Conflict` when the old one is not over.
    """
    row = _kept(session, job_id)
    if row.state not in FINAL:
        detail = "The job is paused: resume it." if row.state == JobState.PAUSED else _NOT_OVER
        raise Conflict(detail, state=row.state)
    spec = _as_now(row)
    # one that ended before its first own checkpoint passes on the one that it was to go on from
    source = job_id if files.newest_checkpoint(session, job_id) else row.resume_job
    made = create(session, new or new_id("job"), spec, context, cloned_from=job_id, resume_job=source)
    return view(session, made)


def clone(
    session: Session, job_id: str, merge_patch: dict[str, Any], context: Context | None = None, new: str | None = None
) -> Job:
    """A new job (`new` is its id) from the spec with a merge patch (RFC 7396) on it, from the first step on.

    Raises `InvalidSpec`.
    """
    row = _kept(session, job_id)
    unknown = {key: value for key, value in merge_patch.items() if key not in JobSpec.model_fields}
    merged = merged_patch(_as_now(row).model_dump(mode="json"), merge_patch) | unknown  # refused, if null too
    try:
        spec = JobSpec.model_validate(merged)
    except ValidationError as error:
        raise InvalidSpec.of(error, merged, JobSpec) from error
    return view(session, create(session, new or new_id("job"), spec, context, cloned_from=job_id))


def merged_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: objects are merged, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merged_patch(merged.get(key), value)
    return merged


def _kept(session: Session, job_id: str) -> Row[Any]:
    """The job, which cannot be deleted before the transaction ends.

    Its data set is locked first: deleting one locks the set and then the jobs that name it, and two orders deadlock.
    """
    row = existing(jobs.find(session, job_id))
    if row.dataset_id is not None:
        datasets.keep(session, row.dataset_id)
    return existing(jobs.keep(session, job_id))


def _as_now(row: Any) -> JobSpec:
    """The spec with name, labels and priority as they are now."""
    return spec_of(row.spec).model_copy(update={"name": row.name, "labels": row.labels, "priority": -row.rank})
