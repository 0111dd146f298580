"""The periodic loop: reaping with grace, nudging until someone comes, and no harm from a second replica."""

import threading
import time

import pytest
from sqlalchemy import text

from app.contract.states import JobState
from app.errors import ServiceUnavailable
from app.upkeep import MAX_GAP_S, Upkeep
from tests.support.service import worker


@pytest.fixture
def nudges():
    return []


@pytest.fixture
def upkeep(database, nudges):
    return Upkeep(database, lambda: nudges.append("nudge"))


@pytest.fixture
def warm(upkeep, pass_time):
    """Upkeep that has been at work for longer than its own grace."""
    tick_through(upkeep, pass_time, 70)
    return upkeep


def tick_through(upkeep, pass_time, seconds, step_s=10):
    """Regular ticks over so much time: `pass_time` moves what is stored, and with it what upkeep remembers."""
    for _ in range(0, seconds, step_s):
        pass_time(step_s)
        upkeep._last_tick = upkeep._last_tick and upkeep._last_tick - step_s
        upkeep._grace_until -= step_s
        upkeep.tick()


def test_a_lost_worker_ends_in_a_new_attempt(service, warm, pass_time):
    job, _ = service.running()
    tick_through(warm, pass_time, 70)
    assert service.job(job).state == JobState.QUEUED
    assert service.attempts(job) == ["lost"]
    pass_time(20)
    assert service.claim(worker("w2")).attempt == 2


def test_after_its_own_start_every_lease_has_its_full_length_again(service, upkeep, pass_time):
    job, work = service.running()
    pass_time(1000)
    upkeep.tick()
    assert service.job(job).state == JobState.RUNNING
    service.heartbeat(work)
    tick_through(upkeep, pass_time, 50)
    assert service.job(job).state == JobState.RUNNING


def test_after_a_gap_in_its_own_ticks_nobody_is_fenced(service, warm, pass_time):
    job, _ = service.running()
    pass_time(1000)
    warm._last_tick -= MAX_GAP_S + 1
    warm.tick()
    assert service.job(job).state == JobState.RUNNING
    tick_through(warm, pass_time, 70)
    assert service.job(job).state == JobState.QUEUED


def test_a_tick_without_database_is_no_successful_tick(service, warm, pass_time, monkeypatch):
    job, _ = service.running()
    before = warm._last_tick
    with monkeypatch.context() as patched:
        patched.setattr(warm.database, "read", _away)
        with pytest.raises(ServiceUnavailable):
            warm.tick()
    assert warm._last_tick == before
    assert service.job(job).state == JobState.RUNNING


def _away():
    raise ServiceUnavailable


def test_replicas_that_reap_at_once_end_an_attempt_once(service, database, pass_time):
    jobs = [service.running(worker(f"w{n}"))[0] for n in range(5)]
    pass_time(61)
    start = threading.Barrier(3)
    ended = []

    def reap():
        start.wait()
        ended.append(service.reap())

    threads = [threading.Thread(target=reap) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(ended) == 5
    assert all(service.attempts(job) == ["lost"] for job in jobs)
    assert all(len([1 for kind, _ in service.events(job) if kind == "state"]) == 3 for job in jobs)


def test_waiting_jobs_are_nudged_again_but_not_at_each_tick(service, upkeep, pass_time, nudges):
    upkeep.tick()
    assert nudges == []
    service.submit()
    upkeep.tick()
    assert len(nudges) == 1, "there is news"
    upkeep.tick()
    assert len(nudges) == 1, "but only once"
    pass_time(31)
    upkeep.tick()
    assert len(nudges) == 2


def test_a_job_whose_backoff_is_over_is_nudged_at_once(service, upkeep, pass_time, nudges):
    _, work = service.running()
    service.finish(work, "failed", "crashed")
    upkeep.tick()
    count = len(nudges)
    pass_time(2)
    upkeep.tick()
    assert len(nudges) == count + 1


def test_two_replicas_nudge_once(service, database, upkeep, nudges):
    other = Upkeep(database, lambda: nudges.append("nudge"))
    service.submit()
    upkeep.tick()
    other.tick()
    assert len(nudges) == 1


def test_the_loop_survives_an_error_and_stops_when_told(database, nudges):
    seen = []

    def fail():
        seen.append(1)
        raise RuntimeError

    fast = database.settings.model_copy(update={"upkeep_s": 0.01, "nudge_after_s": 0.01})
    database.settings = fast
    with database.write() as session:
        session.execute(text("INSERT INTO upkeep_marks (name, time) VALUES ('nudge', 0)"))
    from tests.support.service import Service

    Service(database).submit()
    upkeep = Upkeep(database, fail)
    upkeep.start()
    deadline = time.monotonic() + 30
    while len(seen) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    upkeep.stop()
    assert len(seen) >= 2


def run_for(upkeep, seconds=0.3):
    upkeep.start()
    time.sleep(seconds)
    upkeep.stop()


def test_the_broker_is_tried_at_the_start_so_that_readiness_knows_of_it(upkeep, nudges):
    run_for(upkeep, 0.05)
    assert nudges == ["nudge"]


def test_an_outage_is_told_once_and_so_is_its_end(upkeep, monkeypatch, caplog):
    caplog.set_level("INFO", "app.upkeep")
    answers = iter([ServiceUnavailable("The database is away."), ServiceUnavailable("The database is away."), None])
    upkeep.database.settings = upkeep.database.settings.model_copy(update={"upkeep_s": 0.01})

    def tick():
        if error := next(answers, None):
            raise error

    monkeypatch.setattr(upkeep, "tick", tick)
    run_for(upkeep)
    assert [record.getMessage() for record in caplog.records] == [
        "upkeep cannot do its work: The database is away.",
        "upkeep does its work again",
    ]


def test_missing_tables_are_told_with_the_way_out(upkeep, monkeypatch, caplog):
    def tick():
        raise ServiceUnavailable("The database does not answer.")

    monkeypatch.setattr(upkeep, "tick", tick)
    monkeypatch.setattr("app.store.migrate.is_current", lambda _: False)
    run_for(upkeep, 0.05)
    assert "trainyard db upgrade" in caplog.text
