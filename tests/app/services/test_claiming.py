"""Claims: who gets what, and that nothing is given twice."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.contract.states import JobState
from tests.support.service import checkpoint, processes, worker


def test_priority_comes_before_age(service):
    old, young, urgent = service.submit(), service.submit(), service.submit(priority=5)
    assert [service.claim().job for _ in range(3)] == [urgent.id, old.id, young.id]
    assert service.claim() is None


def test_a_claim_opens_an_attempt_with_a_lease_and_devices(service):
    job = service.submit(**processes(2))
    work = service.claim()
    assert (work.job, work.attempt, work.order.devices, work.order.device_kind) == (job.id, 1, [0, 1], "cpu")
    assert service.reserved() == {("w1", 0), ("w1", 1)}
    found = service.job(job.id)
    assert (found.state, found.attempt, found.pending) == (JobState.STARTING, 1, None)
    assert service.attempts(job.id) == ["open"]


def test_a_job_that_does_not_fit_does_not_block_one_that_does(service):
    service.running(worker(slots=2))
    big, small = service.submit(**processes(2)), service.submit()
    assert service.claim(worker(slots=2)).job == small.id
    assert service.job(big.id).state == JobState.QUEUED


@pytest.mark.parametrize(("slots", "given"), [(1, 1), (3, 2), (4, 4), (6, 4)])
def test_auto_is_given_as_many_free_devices_as_divide_the_batch(service, slots, given):
    job = service.submit(distributed={"kind": "ddp", "processes": "auto"}, training={"batch_size": 64})
    order = service.claim(worker(slots=slots)).order
    assert order.devices == list(range(given))
    assert order.processes == given
    assert len(service.reserved()) == given
    assert service.job(job.id).spec.distributed.processes == "auto"


@pytest.mark.parametrize(("slots", "given"), [(1, 1), (2, 2), (3, 2), (4, 4), (9, 4)])
def test_an_elastic_job_is_given_what_there_is_between_its_bounds(service, slots, given):
    service.submit(distributed={"kind": "ddp", "processes": 4, "min_processes": 1})
    order = service.claim(worker(slots=slots)).order
    assert (order.devices, order.processes) == (list(range(given)), given)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_an_elastic_job_goes_on_with_fewer_devices_on_another_worker(service, pass_time, kind):
    job = service.submit(distributed={"kind": kind, "processes": 4, "min_processes": 2})
    first = service.claim(worker(slots=4))
    service.start(first)
    pass_time(61)
    service.reap()
    pass_time(61)  # the next attempt backs off
    assert service.claim(worker("small", slots=1)) is None
    assert "2 devices" in service.job(job.id).pending.detail
    second = service.claim(worker("other", slots=3))
    assert (second.job, second.attempt, second.order.processes) == (job.id, 2, 2)


def test_auto_takes_what_others_leave(service):
    service.running(worker(slots=4))
    service.submit(distributed={"kind": "ddp", "processes": "auto"}, training={"batch_size": 64})
    assert service.claim(worker(slots=4)).order.devices == [1, 2]


def test_a_job_that_waited_too_long_holds_back_the_devices_that_it_needs(service, pass_time):
    _, first = service.running(worker(slots=2))
    big = service.submit(**processes(2))
    pass_time(service.database.settings.starvation_s + 1)
    service.heartbeat(first)
    service.submit()
    assert service.claim(worker(slots=2)) is None, "the free device is held back"
    assert service.claim(worker("w2", slots=1)) is not None, "a worker that can never run it is not"
    service.finish(first)
    assert service.claim(worker(slots=2)).job == big.id


def test_a_higher_priority_goes_before_one_that_holds_back(service, pass_time):
    service.running(worker(slots=2))
    service.submit(**processes(2))
    pass_time(service.database.settings.starvation_s + 1)
    urgent = service.submit(priority=1)
    assert service.claim(worker(slots=2)).job == urgent.id


def test_fp16_waits_for_a_gpu(service):
    job = service.submit(training={"precision": "fp16"})
    assert service.claim() is None
    assert service.claim(worker("gpu", kind="cuda")).job == job.id


def test_workers_that_claim_at_once_get_each_job_once(service):
    made = {service.submit().id for _ in range(20)}
    start = threading.Barrier(4)

    def work(name):
        start.wait()
        found = []
        while given := service.claim(worker(name, slots=20)):
            found.append(given.job)
        return found

    with ThreadPoolExecutor(4) as pool:
        claimed = Counter(job for jobs in pool.map(work, ["a", "b", "c", "d"]) for job in jobs)
    assert claimed == dict.fromkeys(made, 1)
    assert len(service.reserved()) == 20


def test_claims_of_one_worker_at_once_reserve_no_device_twice(service):
    for _ in range(8):
        service.submit()
    start = threading.Barrier(4)

    def work(_):
        start.wait()
        return [given for given in (service.claim(worker(slots=4)) for _ in range(3)) if given]

    with ThreadPoolExecutor(4) as pool:
        given = [each for found in pool.map(work, range(4)) for each in found]
    assert sorted(device for each in given for device in each.order.devices) == [0, 1, 2, 3]


def test_the_next_attempt_goes_on_from_the_newest_checkpoint(service, pass_time):
    job, work = service.running()
    service.report(work, checkpoint(10), checkpoint(20))
    service.finish(work, "failed", "lost_gpu")
    pass_time(60)
    again = service.claim()
    folder = service.database.settings.attempt_dir(job, 1)
    assert again.order.paths.resume == str(folder / "checkpoints/training-00000020")
    assert again.order.paths.resume_older == [str(folder / "checkpoints/training-00000010")]
    assert again.order.paths.run_dir == str(service.database.settings.attempt_dir(job, 2))


def test_the_attempt_after_that_knows_the_checkpoints_of_both(service, pass_time):
    job, work = service.running()
    for saved in ((10, 20), (30,)):
        service.report(work, *(checkpoint(step) for step in saved))
        service.finish(work, "failed", "lost_gpu")
        pass_time(600)
        work = service.claim()
    attempts = [service.database.settings.attempt_dir(job, number) / "checkpoints" for number in (2, 1, 1)]
    found = [work.order.paths.resume, *work.order.paths.resume_older]
    assert found == [
        str(folder / f"training-000000{step}") for folder, step in zip(attempts, (30, 20, 10), strict=True)
    ]


def test_time_of_earlier_attempts_is_taken_from_the_limit(service, pass_time):
    _, work = service.running(limits={"max_duration_s": 1000})
    assert work.order.time_left_s == pytest.approx(1000)
    pass_time(300)
    service.heartbeat(work)
    service.save(work)
    service.finish(work, "released")
    assert service.claim().order.time_left_s == pytest.approx(700, abs=10)


def test_a_released_job_is_taken_again_at_once(service):
    job, work = service.running()
    assert service.finish(work, "released") == "queued"
    assert service.claim(worker("w2")).job == job
