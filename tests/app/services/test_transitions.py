"""No write takes a job out of a state that does not lead where it wants to go."""

from collections.abc import Callable
from itertools import product

import pytest

from app.contract.states import NEXT, JobState
from app.store import jobs
from tests.support.service import Service


def active(service: Service, state: str) -> str:
    job = service.submit().id
    work = service.claim()
    if state != "starting":
        service.start(work)
    if state in ("succeeded", "failed"):
        service.finish(work, state, "diverged" if state == "failed" else None)
    return job


def cancelled(service: Service) -> str:
    job = service.submit().id
    service.cancel(job)
    return job


JOBS: dict[JobState, Callable[[Service], str]] = {
    JobState.QUEUED: lambda service: service.submit().id,
    JobState.STARTING: lambda service: active(service, "starting"),
    JobState.RUNNING: lambda service: active(service, "running"),
    JobState.SUCCEEDED: lambda service: active(service, "succeeded"),
    JobState.FAILED: lambda service: active(service, "failed"),
    JobState.CANCELLED: cancelled,
}
FORBIDDEN = [(state, wanted) for state, wanted in product(JOBS, repeat=2) if wanted not in NEXT[state]]


@pytest.mark.parametrize(("state", "wanted"), FORBIDDEN, ids=lambda state: state.value)
def test_a_job_enters_no_state_that_its_own_does_not_lead_to(service, database, state, wanted):
    job = JOBS[state](service)
    before = service.job(job)
    assert before.state == state
    with database.write() as session:
        assert jobs.enter(session, job, wanted) is None
    assert service.job(job) == before
