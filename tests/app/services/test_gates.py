"""A job that missed a gate: failed, and everything of it is there."""

import pytest

from app.contract.failures import FailureCode
from app.contract.report import GateResult
from app.contract.states import JobState
from app.errors import Fenced, InvalidSpec
from app.services import history
from app.store import migrate
from tests.support.service import REPORT, SHA256, worker

ARTIFACT = {"name": "model.safetensors", "path": "artifacts/model.safetensors", "size_bytes": 3, "sha256": SHA256}
MISSED = REPORT.model_copy(
    update={"gates": [GateResult(gate="max_parameters", limit=1, found=3, passed=False, missed_by=2)]}
)
LEFT = {"report": MISSED, "artifacts": [ARTIFACT]}


def miss(service, **more):
    """A job that missed its gate: its id."""
    job, work = service.running(**more)
    assert service.finish(work, "failed", "gate_missed", **LEFT) == "failed"
    return job


def artifacts_of(service, job):
    with service.database.read() as session:
        return [each.name for each in history.artifacts(session, job)]


def test_report_and_artifacts_are_kept_and_told_of_in_one_step(service):
    job = miss(service)
    found = service.job(job)
    assert (found.state, found.failure.code, found.failure.retryable) == ("failed", FailureCode.GATE_MISSED, False)
    assert found.report.gates[0].missed_by == 2
    assert artifacts_of(service, job) == ["model.safetensors"]
    assert [kind for kind, _ in service.events(job)][-2:] == ["state", "artifact"]
    assert service.attempts(job) == ["failed"]
    assert service.claim() is None, "it is not tried again by itself"


def test_a_repeated_finish_changes_nothing(service):
    job, work = service.running()
    assert [service.finish(work, "failed", "gate_missed", **LEFT) for _ in range(2)] == ["failed", "failed"]
    assert artifacts_of(service, job) == ["model.safetensors"]


def test_whoever_lost_its_lease_leaves_nothing(service, pass_time):
    job, work = service.running()
    pass_time(61)
    assert service.reap() == 1
    with pytest.raises(Fenced):
        service.finish(work, "failed", "gate_missed", **LEFT)
    assert (service.job(job).report, artifacts_of(service, job)) == (None, [])


def test_what_a_job_leaves_that_is_tried_again_is_not_kept(service):
    """The next attempt brings files of the same names."""
    job, work = service.running()
    assert service.finish(work, "failed", "crashed", **LEFT) == "queued"
    assert (service.job(job).report, artifacts_of(service, job)) == (None, [])


def test_a_missed_gate_wins_over_a_wish_to_stop(service):
    job, work = service.running()
    service.cancel(job)
    assert service.finish(work, "failed", "gate_missed", **LEFT) == "failed"
    assert artifacts_of(service, job) == ["model.safetensors"]


def test_a_path_outside_the_attempt_is_refused_here_too(service):
    job, work = service.running()
    with pytest.raises(InvalidSpec):
        service.finish(work, "failed", "gate_missed", report=MISSED, artifacts=[ARTIFACT | {"path": "../x"}])
    assert service.job(job).state == JobState.RUNNING


def test_retry_makes_a_job_that_goes_on_from_the_last_checkpoint(service):
    job, work = service.running(gates={"max_parameters": 1})
    service.save(work, step=7)
    service.finish(work, "failed", "gate_missed", **LEFT)
    again = service.retry(job)
    assert again.spec.gates.max_parameters == 1
    assert service.claim().order.paths.resume.endswith("training-00000007")


def test_its_model_can_be_started_from_and_compared_with(service):
    job = miss(service)
    made = service.submit(model={"kind": "checkpoint", "job": job}, baseline={"kind": "job", "job": job})
    paths = service.claim().order.paths
    assert paths.model == paths.baseline
    assert paths.baseline.endswith(f"{job}/attempts/1/artifacts")
    assert made.spec.baseline.job == job


def test_a_version_without_gates_keeps_the_job_and_forgets_its_report(service, database, database_url):
    job = miss(service)
    version = service.job(job).version
    migrate.downgrade(database_url, "0006")
    migrate.upgrade(database_url)
    found = service.job(job)
    assert (found.state, found.failure.code, found.report) == ("failed", "gate_missed", None)
    assert found.version == version + 1
    assert artifacts_of(service, job) == ["model.safetensors"]


def refused(service, job, **more):
    with pytest.raises(InvalidSpec) as found:
        service.submit(baseline={"kind": "job", "job": job}, **more)
    (problem,) = found.value.errors
    return problem.pointer, problem.code


def test_a_baseline_that_leaves_nothing_to_compare_with_is_refused(service):
    assert refused(service, "job_nowhere") == ("/baseline/job", "unknown_job")
    assert refused(service, service.submit().id) == ("/baseline/job", "job_not_succeeded")
    failed, work = service.running(worker("w2"), priority=1)
    service.finish(work, "failed", "diverged")
    assert refused(service, failed) == ("/baseline/job", "job_not_succeeded")
    empty, work = service.running(worker("w2"), priority=1)
    service.finish(work)
    assert refused(service, empty) == ("/baseline/job", "no_model")


def test_the_run_is_told_what_the_jobs_that_it_names_held_out(service):
    job, work = service.running(training={"seed": 3})
    service.finish(work, artifacts=[ARTIFACT])
    service.submit(
        baseline={"kind": "job", "job": job},
        model={"kind": "checkpoint", "job": job},
        compression=[{"kind": "distillation", "job": job}],
    )
    order = service.claim().order
    for split in (order.baseline_split, order.model_split, order.teacher_split):
        assert (split.seed, split.validation_fraction) == (3, 0.2)


def test_a_job_that_others_are_compared_with_is_kept_until_they_are_over(service):
    from app.errors import Conflict

    job = miss(service)
    waiting = service.submit(baseline={"kind": "job", "job": job}).id
    with pytest.raises(Conflict):
        service.delete(job)
    service.cancel(waiting)
    service.delete(job)
