"""Reaping changes only what is still as it was when it was read."""

from app.contract.states import JobState
from app.contract.work import Paths, PlanTask, RunOrder
from app.services import reaping, tasks
from app.store import jobs
from app.store import tasks as task_rows
from tests.support.service import spec, worker

PORTION = 10


def expired(service):
    with service.database.read() as session:
        return jobs.expired(session, PORTION)[0]


def end(service, row):
    with service.database.write() as session:
        return reaping.end_expired(session, row)


def test_a_heartbeat_after_the_look_keeps_the_attempt(service, pass_time):
    job, work = service.running()
    pass_time(61)
    read = expired(service)
    service.heartbeat(work)
    assert not end(service, read)
    assert service.job(job).state == JobState.RUNNING


def test_a_heartbeat_that_came_too_late_again_is_judged_by_its_own_end(service, pass_time):
    """The expiry that was read is part of the condition: a lease that was renewed and ended again is another one."""
    job, work = service.running()
    pass_time(61)
    read = expired(service)
    service.heartbeat(work)
    pass_time(61)
    assert not end(service, read)
    assert end(service, expired(service))
    assert service.attempts(job) == ["lost"]


def test_the_next_attempt_is_not_ended_for_the_one_before(service, pass_time):
    job, work = service.running()
    pass_time(61)
    read = expired(service)
    service.finish(work, "released")
    second = service.claim(worker("w2"))
    pass_time(61)
    assert not end(service, read)
    assert service.job(job).attempt == second.attempt == 2
    assert service.attempts(job) == ["released", "open"]


def test_a_task_that_was_heard_of_after_the_look_is_kept(service, pass_time):
    with service.database.write() as session:
        order = PlanTask(order=RunOrder(spec=spec(), paths=Paths(run_dir="/x")))
        task_rows.create(session, "task_1", "plan", order.model_dump(mode="json"))
    work = service.claim(worker(task_slots=1))
    pass_time(61)
    with service.database.read() as session:
        read = task_rows.expired(session, PORTION)[0]
    with service.database.write() as session:
        tasks.heartbeat(session, work.task, work.token)
    with service.database.write() as session:
        tasks.give_up_lost(session, read)
        assert task_rows.find(session, work.task).state == "running"
