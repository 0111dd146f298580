"""The states of a job and the only ways between them. Every transition's WHERE clause is derived from `NEXT`."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands. Final states never change: `retry` and `clone` make new jobs."""

    QUEUED = "queued"  # accepted and durable; a worker with room moves it on
    STARTING = "starting"  # claimed; its supervisor moves it on, or upkeep when the lease ends
    RUNNING = "running"  # training; its supervisor moves it on, or upkeep when the lease ends
    PAUSED = "paused"  # a user holds it back, and nothing of it runs; a user resumes or cancels it
    SUCCEEDED = "succeeded"  # final: the model file and its report are there
    FAILED = "failed"  # final: `failure` says why and what to change
    CANCELLED = "cancelled"  # final: a user asked for it, and nothing of it runs any more


class StopWish(StrEnum):
    """What a user asked of an active job. A wish is recorded on the row; the worker that holds the job fulfils it."""

    CANCEL = "cancel"
    PAUSE = "pause"


NEXT: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.STARTING, JobState.PAUSED, JobState.CANCELLED}),
    JobState.STARTING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.FAILED, JobState.PAUSED, JobState.CANCELLED}
    ),
    JobState.RUNNING: frozenset(
        {JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED, JobState.PAUSED, JobState.CANCELLED}
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

FINAL: frozenset[JobState] = frozenset(state for state, following in NEXT.items() if not following)
ACTIVE: frozenset[JobState] = frozenset({JobState.STARTING, JobState.RUNNING})
"""The states in which an attempt is open: it holds a lease and devices."""


def before(state: JobState) -> frozenset[JobState]:
    """The states from which `state` may be entered: the WHERE of every transition."""
    return frozenset(source for source, following in NEXT.items() if state in following)
