"""What becomes of a job when an attempt ends: the one place where retrying is decided."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Row
from sqlalchemy.orm import Session

from app.contract.events import ArtifactFile
from app.contract.failures import POLICY, Failure, FailureCode, failure
from app.contract.report import Report
from app.contract.states import JobState, StopWish
from app.services.job_view import spec_of
from app.store import attempts, files, jobs
from app.store.attempts import Ending
from app.store.events import News
from app.store.session import work_waits
from app.store.types import now

SOON_S = 1.0
"""Before the attempt after one that got further, or after the first that did not: most of what befalls a run is over
with the run."""
BACKOFF_S = 30.0
"""Where an attempt brought nothing twice: a driver that is reset, or a disk that is cleared, takes its time."""
BARREN_LIMIT = 3
"""Attempts in a row without a new checkpoint: the next one would only repeat them."""


@dataclass(frozen=True)
class Verdict:
    """The state that follows, and what the row says of it."""

    state: JobState
    failure: Failure | None = None
    backoff_s: float | None = None
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Left:
    """What an attempt leaves to its user."""

    report: Report | None = None
    artifacts: Sequence[ArtifactFile] = ()


def end_attempt(
    session: Session,
    job: Row[Any],
    attempt: Row[Any],
    ending: Ending,
    reason: Failure | None,
    *conditions: ColumnElement[bool],
    left: Left | None = None,
) -> Row[Any] | None:
    """Close the open attempt and move the job on. None, and nothing written, when the conditions no longer hold.

    What it `left` is kept when the job succeeded or failed by it: another attempt brings its own.
    """
    verdict = decide(job, attempt, ending, reason)
    told = {"attempt": job.attempt, **_about(verdict, reason)}
    kept = left if left and verdict.state in (JobState.SUCCEEDED, JobState.FAILED) else Left()
    changed = jobs.enter(
        session,
        job.id,
        verdict.state,
        *conditions,
        news=[News("artifact", each.model_dump(exclude={"path"})) for each in kept.artifacts],
        about=told,
        report=kept.report and kept.report.model_dump(mode="json"),
        **verdict.counts,
        **jobs.no_lease(),
        **_timing(verdict),
        failure=verdict.failure and verdict.failure.model_dump(mode="json"),
        spent_s=job.spent_s + attempt.taken_s,
    )
    if changed is not None:
        files.add_artifacts(session, job.id, job.attempt, [each.model_dump() for each in kept.artifacts])
        attempts.close(session, job.id, job.attempt, ending, reason.model_dump(mode="json") if reason else None)
        work_waits(session)  # the job itself, or another one for its devices
    return changed


def decide(job: Row[Any], attempt: Row[Any], ending: Ending, reason: Failure | None) -> Verdict:
    """Reads the policy of the failure; a stop that was wished comes before another attempt."""
    if ending == "succeeded":
        return Verdict(JobState.SUCCEEDED)
    ends_here = reason is not None and not POLICY[reason.code].requeue
    if job.stop_requested and not ends_here:
        return _stopped(StopWish(job.stop_requested), attempt)
    limits = spec_of(job.spec).limits
    late = job.spent_s + attempt.taken_s >= limits.max_duration_s
    if late and not ends_here:
        message = f"The attempts together took longer than limits.max_duration_s = {limits.max_duration_s}."
        return Verdict(JobState.FAILED, failure(FailureCode.TIMEOUT, message, attempt=job.attempt))
    if reason is None:
        return Verdict(JobState.QUEUED, backoff_s=0.0, counts=_forgiven(attempt))
    return Verdict(JobState.FAILED, reason) if ends_here else _again(job, attempt, reason, limits.max_attempts)


def _stopped(wish: StopWish, attempt: Row[Any]) -> Verdict:
    """A user wished it. A pause raises no count: whether the attempt would have gone well, nobody can tell."""
    if wish == StopWish.CANCEL:
        return Verdict(JobState.CANCELLED)
    return Verdict(JobState.PAUSED, counts=_forgiven(attempt))


def _forgiven(attempt: Row[Any]) -> dict[str, int]:
    """A new checkpoint ends a row of barren attempts, however its attempt ended."""
    return {"barren_attempts": 0} if attempt.saved_checkpoint else {}


def _again(job: Row[Any], attempt: Row[Any], reason: Failure, max_attempts: int) -> Verdict:
    counts = {
        "failures": job.failures + 1,
        "barren_attempts": 0 if attempt.saved_checkpoint else job.barren_attempts + 1,
    }
    if counts["barren_attempts"] >= BARREN_LIMIT:
        message = f"{BARREN_LIMIT} attempts in a row brought no new checkpoint; the last one: {reason.message}"
        return Verdict(JobState.FAILED, failure(FailureCode.CRASH_LOOP, message, attempt=job.attempt), counts=counts)
    if counts["failures"] >= max_attempts:
        return Verdict(JobState.FAILED, reason, counts=counts)
    backoff_s = SOON_S if counts["barren_attempts"] <= 1 else BACKOFF_S
    return Verdict(JobState.QUEUED, backoff_s=backoff_s, counts=counts)


def _about(verdict: Verdict, reason: Failure | None) -> dict[str, Any]:
    told = verdict.failure or reason
    about: dict[str, Any] = {"failure": told.model_dump(mode="json")} if told else {}
    return {**about, "retry_in_s": verdict.backoff_s} if verdict.backoff_s else about


def _timing(verdict: Verdict) -> dict[str, Any]:
    if verdict.state == JobState.QUEUED:
        return {"available_at": now() + (verdict.backoff_s or 0.0), "phase": None}
    return {"phase": None} if verdict.state == JobState.PAUSED else {"finished_at": now(), "phase": None}
