"""The end of attempts: guard G, what follows from each failure, and finish against cancel."""

import pytest

from app.contract.failures import POLICY, FailureCode
from app.contract.states import JobState
from app.contract.work import Finish
from app.errors import Fenced, InvalidSpec
from app.services import attempts, claiming
from app.services.outcomes import BARREN_LIMIT
from tests.support.service import SHA256, lease_of, worker

ARTIFACT = {"name": "model.safetensors", "path": "artifacts/model.safetensors", "size_bytes": 3, "sha256": SHA256}


def fail_once(service, pass_time, code="crashed", save=False):
    """Claim, start, perhaps save, fail; answers the state that followed."""
    pass_time(400)
    work = service.claim()
    service.start(work)
    if save:
        service.save(work, step=work.attempt)
    return service.finish(work, "failed", code)


def test_success_brings_report_and_artifacts_in_one_step(service):
    job, work = service.running()
    assert service.finish(work, artifacts=[ARTIFACT]) == "succeeded"
    found = service.job(job)
    assert found.state == JobState.SUCCEEDED
    assert found.report is not None
    assert found.finished_at is not None
    assert service.attempts(job) == ["succeeded"]
    assert service.reserved() == set()
    assert [kind for kind, _ in service.events(job)][-2:] == ["state", "artifact"]


def test_a_repeated_finish_answers_what_became_of_the_job(service):
    _, work = service.running()
    assert [service.finish(work, "failed", "diverged") for _ in range(2)] == ["failed", "failed"]


def test_a_success_whose_start_was_lost_counts(service):
    job = service.submit()
    assert service.finish(service.claim()) == "succeeded"
    states = [data["state"] for kind, data in service.events(job.id) if kind == "state"]
    assert states == ["starting", "running", "succeeded"]


def test_another_token_is_fenced_everywhere(service):
    _, work = service.running()
    forged = work.model_copy(update={"token": "forged"})
    for say in (service.start, service.heartbeat, service.report, service.finish):
        with pytest.raises(Fenced):
            say(forged)


def test_a_worker_that_lost_its_lease_cannot_finish_the_job(service, pass_time):
    job, first = service.running()
    pass_time(61)
    assert service.reap() == 1
    pass_time(61)
    second = service.claim(worker("w2"))
    for say in (service.heartbeat, service.finish, service.report):
        with pytest.raises(Fenced):
            say(first)
    assert service.attempts(job) == ["lost", "open"]
    assert service.job(job).attempt == second.attempt == 2


@pytest.mark.parametrize("code", list(FailureCode))
def test_each_failure_has_the_consequence_of_its_policy(service, code):
    job, work = service.running()
    expected = "queued" if POLICY[code].requeue else "failed"
    assert service.finish(work, "failed", code.value) == expected
    found = service.job(job)
    assert (found.failure is None) == POLICY[code].requeue
    if found.failure:
        assert (found.failure.code, found.failure.attempt, found.failure.hint) == (code, 1, POLICY[code].hint)


@pytest.mark.parametrize(
    ("saves", "expected"),
    [
        ([True, True, True], [1, 1, 1]),  # each got further
        ([False, False], [1, 30]),
        ([False, True, False, False], [1, 1, 1, 30]),
    ],
)
def test_a_requeued_job_waits_longer_where_attempts_bring_nothing(service, pass_time, saves, expected):
    service.submit(limits={"max_attempts": 10})
    waits = []
    for save in saves:
        assert fail_once(service, pass_time, save=save) == "queued"
        assert service.claim() is None
        waits.append(_backoff_s(service))
    assert waits == expected


def test_a_worker_is_told_when_a_job_between_two_attempts_is_due(service, pass_time):
    with service.database.read() as session:
        assert claiming.ask_again_s(session) is None
    service.submit()
    fail_once(service, pass_time)
    fail_once(service, pass_time)
    with service.database.read() as session:
        assert claiming.ask_again_s(session) == 30
    pass_time(30)
    with service.database.read() as session:
        assert claiming.ask_again_s(session) is None, "it is due"


def _backoff_s(service):
    from app.store.events import of_all

    with service.database.read() as session:
        told = [row.data["retry_in_s"] for row in of_all(session, (0, 0), 1000) if "retry_in_s" in row.data]
    return told[-1]


def test_three_attempts_without_a_new_checkpoint_are_a_crash_loop(service, pass_time):
    job = service.submit(limits={"max_attempts": 10}).id
    ends = [fail_once(service, pass_time) for _ in range(BARREN_LIMIT)]
    assert ends == ["queued", "queued", "failed"]
    assert service.job(job).failure.code == FailureCode.CRASH_LOOP


def test_a_new_checkpoint_begins_the_count_anew(service, pass_time):
    service.submit(limits={"max_attempts": 10})
    saves = [False, False, True, False, False, False]
    assert [fail_once(service, pass_time, save=save) for save in saves][-2:] == ["queued", "failed"]


def test_after_the_last_attempt_the_job_fails_with_its_reason(service, pass_time):
    job = service.submit(limits={"max_attempts": 2}).id
    assert [fail_once(service, pass_time, save=True) for _ in range(2)] == ["queued", "failed"]
    assert service.job(job).failure.code == FailureCode.CRASHED


def test_releases_do_not_count_as_attempts(service, pass_time):
    job = service.submit(limits={"max_attempts": 1}).id
    for _ in range(4):
        work = service.claim()
        service.start(work)
        assert service.finish(work, "released") == "queued"
    assert service.job(job).attempt == 4


def test_a_job_whose_time_is_used_up_is_not_tried_again(service, pass_time):
    job, work = service.running(limits={"max_duration_s": 30})
    pass_time(31)
    assert service.finish(work, "released") == "failed"
    assert service.job(job).failure.code == FailureCode.TIMEOUT


def test_finish_before_cancel_wins_and_cancel_is_refused(service):
    from app.errors import Conflict

    job, work = service.running()
    service.finish(work)
    with pytest.raises(Conflict) as refused:
        service.cancel(job)
    assert refused.value.state == "succeeded"


def test_a_cancel_wish_reaches_the_worker_and_ends_with_its_release(service):
    job, work = service.running()
    found, is_done = service.cancel(job)
    assert (found.state, found.stop_requested, is_done) == (JobState.RUNNING, "cancel", False)
    version = found.version
    assert service.cancel(job)[0].version == version, "wished twice, nothing changes"
    assert service.heartbeat(work) == "cancel"
    assert service.report(work).stop == "cancel"
    assert service.finish(work, "released") == "cancelled"
    assert service.cancel(job)[1] is True
    assert service.reserved() == set()


@pytest.mark.parametrize(("outcome", "code", "state"), [
    ("succeeded", None, "succeeded"), ("failed", "crashed", "cancelled"), ("failed", "bad_dataset", "failed"),
])  # fmt: skip
def test_what_ends_under_a_cancel_wish(service, outcome, code, state):
    job, work = service.running()
    service.cancel(job)
    assert service.finish(work, outcome, code) == state


def test_a_queued_job_is_cancelled_at_once(service):
    found, is_done = service.cancel(service.submit().id)
    assert (found.state, is_done) == (JobState.CANCELLED, True)
    assert service.claim() is None


def test_a_lease_that_ends_under_a_cancel_wish_ends_cancelled(service, pass_time):
    job, _ = service.running()
    service.cancel(job)
    pass_time(61)
    assert service.reap() == 1
    assert service.job(job).state == JobState.CANCELLED


def test_a_lease_lasts_from_the_last_heartbeat_on(service, pass_time):
    job, work = service.running()
    pass_time(50)
    service.heartbeat(work)
    pass_time(50)
    assert service.reap() == 0
    pass_time(11)
    assert service.reap() == 1
    assert service.attempts(job) == ["lost"]


def test_a_late_first_word_begins_the_lease_anew(service, pass_time):
    service.submit()
    work = service.claim()
    pass_time(59)
    service.start(work)
    pass_time(59)
    assert service.reap() == 0
    pass_time(2)
    assert service.reap() == 1


def test_heartbeats_extend_the_lease_but_not_beyond_the_deadline(service, pass_time):
    job, work = service.running(limits={"max_duration_s": 100})
    for _ in range(14):
        pass_time(50)
        service.heartbeat(work)
    assert service.job(job).state == JobState.RUNNING
    pass_time(50)
    assert service.reap() == 1
    assert service.job(job).failure.code == FailureCode.TIMEOUT


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/file", "artifacts/../../x"])
def test_artifacts_outside_the_attempt_are_refused(service, path):
    _, work = service.running()
    with pytest.raises(InvalidSpec):
        service.finish(work, artifacts=[ARTIFACT | {"path": path}])
    assert service.job(work.job).state == JobState.RUNNING


@pytest.mark.parametrize("outcome", ["failed", "succeeded"])
def test_an_end_without_its_reason_or_report_is_refused(service, outcome):
    _, work = service.running()
    with service.database.write() as session, pytest.raises(InvalidSpec):
        attempts.finish(session, lease_of(work), Finish(token=work.token, outcome=outcome))
