"""Why a queued job waits, and the hosts that could take it."""

import pytest

from app import queue
from app.services import workers
from app.store import queue as rows
from tests.support.service import processes, worker


def reason(service, job):
    return service.job(job.id).pending.reason


def test_without_a_worker_a_job_waits_for_one(service):
    job = service.submit()
    assert reason(service, job) == "no_worker"
    assert job.pending.position == 1


def test_a_job_that_no_present_worker_can_run_says_so(service):
    service.claim(worker(slots=1))
    assert reason(service, service.submit(**processes(2))) == "no_capable_worker"
    assert reason(service, service.submit(training={"precision": "fp16"})) == "no_capable_worker"


def test_a_job_for_more_devices_than_any_worker_has_says_for_what_it_waits_and_what_there_is(service):
    service.claim(worker(slots=3))
    pending = service.submit(**processes(4)).pending
    assert pending.reason == "no_capable_worker"
    assert "4 devices; the largest has 3" in pending.detail


def test_a_job_for_more_devices_than_are_free_says_for_what_it_waits(service):
    service.running(worker(slots=2))
    pending = service.submit(**processes(2)).pending
    assert pending.reason == "waiting_for_gpus"
    assert "2 devices" in pending.detail


def test_a_job_waits_for_devices_that_others_hold(service):
    service.running(worker(slots=1))
    assert reason(service, service.submit()) == "waiting_for_gpus"


def test_a_job_that_failed_just_now_backs_off(service):
    job, work = service.running()
    service.finish(work, "failed", "crashed")
    assert service.job(job).pending.reason == "backing_off"


def test_with_the_broker_away_workers_find_jobs_by_asking(service, tmp_path):
    nudger = queue.connect(f"redis+socket://{tmp_path / 'none.sock'}")
    try:
        nudger.nudge()
        while not nudger.broken:
            nudger._wanted.wait(0.01)
        service.claim(worker())
        assert reason(service, service.submit()) == "broker_down"
    finally:
        queue.disconnect()


def test_positions_follow_the_queue_and_stop_at_the_cap(service, database, monkeypatch):
    made = [service.submit() for _ in range(4)]
    urgent = service.submit(priority=1)
    with database.read() as session:
        found = rows.places(session, [rows_of(session, job) for job in [*made, urgent]])
    assert [found[job.id] for job in [urgent, *made]] == [1, 2, 3, 4, 5]
    assert [service.job(job.id).pending.position for job in made] == [2, 3, 4, 5]
    monkeypatch.setattr(rows, "POSITION_CAP", 2)
    assert service.job(made[-1].id).pending.position == 3


def rows_of(session, job):
    from app.store import jobs

    return jobs.find(session, job.id)


def test_a_running_job_is_not_pending(service):
    job, _ = service.running()
    assert service.job(job).pending is None


@pytest.mark.parametrize(("silence_s", "state"), [(0, "alive"), (50, "alive"), (61, "lost")])
def test_a_worker_is_lost_when_it_was_silent_for_a_minute(service, pass_time, silence_s, state):
    job, _ = service.running(worker(slots=2))
    pass_time(silence_s)
    with service.database.read() as session:
        (found,) = workers.list_workers(session).items
    assert found.state == state
    assert [device.job for device in found.devices] == [job, None]


def test_heartbeats_show_that_a_busy_worker_lives(service, pass_time):
    _, work = service.running()
    pass_time(61)
    service.heartbeat(work)
    with service.database.read() as session:
        assert workers.list_workers(session).items[0].state == "alive"


def test_a_worker_that_is_gone_for_a_week_is_forgotten_unless_it_holds_something(service, pass_time):
    service.running(worker("busy"))
    service.claim(worker("idle"))
    pass_time(8 * 86_400)
    with service.database.write() as session:
        workers.forget_lost(session)
        assert [each.id for each in workers.list_workers(session).items] == ["busy"]
