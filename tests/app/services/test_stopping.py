"""Pausing and going on, in every state; what wins against what."""

import pytest
from sqlalchemy import select, update

from app.contract.states import FINAL, StopWish
from app.errors import Conflict, Fenced
from app.services import housekeeping
from app.store.session import Database
from app.store.tables import jobs
from tests.support.service import Service, spec, worker

LEASE_S = 61


@pytest.fixture
def paused(service):
    """A job that ran, saved a checkpoint, and was paused: its id."""
    job, work = service.running()
    service.save(work, step=7)
    service.pause(job)
    service.finish(work, "released")
    return job


def row_of(database, job):
    with database.read() as session:
        return session.execute(select(jobs).where(jobs.c.id == job)).one()


def states(service, job):
    return [data["state"] for kind, data in service.events(job) if kind == "state"]


class TestQueued:
    """No worker holds it."""

    def test_it_is_paused_at_once_and_no_worker_gets_it(self, service):
        job = service.submit().id
        shown, already = service.pause(job)
        assert (shown.state, shown.stop_requested, shown.pending, already) == ("paused", None, None, True)
        assert service.claim() is None
        assert states(service, job) == ["paused"]

    def test_paused_again_it_stays_as_it_is(self, service):
        job = service.submit().id
        first, _ = service.pause(job)
        again, already = service.pause(job)
        assert already
        assert again.version == first.version

    def test_resumed_it_has_its_old_place(self, service):
        first = service.submit().id
        service.submit()
        service.pause(first)
        shown, already = service.resume(first)
        assert (shown.state, already) == ("queued", True)
        assert shown.pending.position == 1
        assert service.claim().job == first

    def test_one_that_backs_off_starts_when_it_is_resumed(self, service):
        job, work = service.running()
        service.finish(work, "failed", "crashed")
        assert service.claim() is None
        service.pause(job)
        service.resume(job)
        assert service.claim().job == job

    def test_whoever_resumes_it_wakes_the_workers(self, database, service):
        job = service.submit().id
        service.pause(job)
        nudges = []
        telling = Service(Database(database.url, database.settings, on_work=lambda: nudges.append(1)))
        telling.resume(job)
        assert nudges == [1]
        telling.resume(job)  # it is queued already: nothing new for them
        telling.pause(job)
        assert nudges == [1]
        telling.database.close()


class TestHeld:
    """A worker holds it: the wish is recorded, and comes true when the attempt ends."""

    def test_the_worker_is_told_and_nothing_else_changes(self, service):
        job, work = service.running()
        shown, already = service.pause(job)
        assert (shown.state, shown.stop_requested, already) == ("running", "pause", False)
        assert service.heartbeat(work) == StopWish.PAUSE
        assert service.reserved() == {("w1", 0)}

    def test_released_it_is_paused_and_its_devices_are_free(self, service, paused):
        shown = service.job(paused)
        assert (shown.state, shown.stop_requested, shown.phase, shown.finished_at) == ("paused", None, None, None)
        assert service.reserved() == set()
        assert service.attempts(paused) == ["released"]

    def test_resumed_it_goes_on_from_its_checkpoint(self, service, paused):
        service.resume(paused)
        work = service.claim()
        assert work.attempt == 2
        assert work.order.paths.resume.endswith("attempts/1/checkpoints/training-00000007")

    def test_one_that_was_only_claimed_is_paused_too(self, service):
        job = service.submit().id
        work = service.claim()
        service.pause(job)
        assert service.finish(work, "released") == "paused"

    def test_a_lease_that_ends_pauses_it(self, service, pass_time):
        job, _ = service.running()
        service.pause(job)
        pass_time(LEASE_S)
        assert service.reap() == 1
        assert service.job(job).state == "paused"
        assert service.attempts(job) == ["lost"]

    def test_one_that_was_only_claimed_is_paused_when_its_lease_ends(self, service, pass_time):
        job = service.submit().id
        service.claim()
        service.pause(job)
        pass_time(LEASE_S)
        service.reap()
        assert service.job(job).state == "paused"

    def test_it_wakes_those_who_wait_for_devices(self, database, service):
        job, work = service.running(worker(slots=1))
        service.submit()
        assert service.claim(worker(slots=1)) is None
        service.pause(job)
        service.finish(work, "released")
        assert service.claim(worker(slots=1)).job != job


class TestWhoWins:
    """Finish, cancel, pause, resume: in every order."""

    @pytest.mark.parametrize(("end", "state"), [
        (("succeeded", None), "succeeded"), (("failed", "diverged"), "failed"), (("failed", "timeout"), "failed"),
        (("failed", "crashed"), "paused"), (("failed", "lost_gpu"), "paused"),
    ])  # fmt: skip
    def test_an_end_that_comes_first_beats_a_pause(self, service, end, state):
        job, work = service.running()
        service.pause(job)
        assert service.finish(work, *end) == state
        assert service.job(job).stop_requested is None

    def test_a_cancel_replaces_a_pause(self, service):
        job, work = service.running()
        service.pause(job)
        shown, already = service.cancel(job)
        assert (shown.stop_requested, already) == ("cancel", False)
        assert service.heartbeat(work) == StopWish.CANCEL
        assert service.finish(work, "released") == "cancelled"

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    def test_a_cancel_is_not_taken_back(self, service, verb):
        job, _ = service.running()
        service.cancel(job)
        with pytest.raises(Conflict) as refused:
            getattr(service, verb)(job)
        assert refused.value.state == "running"
        assert service.job(job).stop_requested == "cancel"

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    def test_what_is_over_can_neither_be_paused_nor_resumed(self, service, verb):
        job = service.submit().id
        service.cancel(job)
        with pytest.raises(Conflict) as refused:
            getattr(service, verb)(job)
        assert refused.value.state == "cancelled"

    def test_a_paused_job_is_cancelled_at_once(self, service, paused):
        shown, already = service.cancel(paused)
        assert (shown.state, already) == ("cancelled", True)
        assert shown.finished_at is not None

    def test_a_resume_takes_back_a_pause_that_has_not_come_true(self, service):
        job, work = service.running()
        service.pause(job)
        shown, already = service.resume(job)
        assert (shown.state, shown.stop_requested, already) == ("running", None, False)
        assert service.heartbeat(work) is None
        assert service.finish(work) == "succeeded"

    def test_a_worker_that_heard_of_it_hands_the_job_back_and_it_goes_on(self, service):
        job, work = service.running()
        service.save(work, step=3)
        service.pause(job)
        service.resume(job)
        assert service.finish(work, "released") == "queued"
        again = service.claim()
        assert (again.job, again.attempt) == (job, 2)

    def test_a_resume_of_what_is_not_paused_changes_nothing(self, service):
        job, _ = service.running()
        before = service.job(job).version
        shown, already = service.resume(job)
        assert (shown.state, shown.version, already) == ("running", before, True)

    def test_the_old_attempt_of_a_paused_job_can_write_no_more(self, service, pass_time):
        job, work = service.running()
        service.pause(job)
        pass_time(LEASE_S)
        service.reap()
        for late in (service.heartbeat, service.save, service.finish):
            with pytest.raises(Fenced):
                late(work)


class TestMeanwhile:
    """What a paused job costs and keeps."""

    def test_upkeep_never_touches_it(self, database, service, paused, pass_time):
        before = service.job(paused).version
        pass_time(10 * 86_400)
        assert service.reap() == 0
        with database.write() as session:
            assert not housekeeping.is_nudge_due(session)
        housekeeping.purge(database)
        assert (service.job(paused).state, service.job(paused).version) == ("paused", before)

    def test_no_count_is_raised(self, database, service, pass_time):
        job = service.submit().id
        for _ in range(5):
            work = service.claim()
            service.start(work)
            service.pause(job)
            service.finish(work, "failed", "crashed")
            assert service.job(job).state == "paused"
            service.resume(job)
        row = row_of(database, job)
        assert (row.state, row.failures, row.barren_attempts) == ("queued", 0, 0)

    def test_its_time_stands_still(self, database, service, paused, pass_time):
        spent_s = row_of(database, paused).spent_s
        pass_time(86_400)
        service.resume(paused)
        work = service.claim()
        assert row_of(database, paused).spent_s == spent_s
        assert work.order.time_left_s == pytest.approx(spec().limits.max_duration_s - spent_s)

    def test_it_is_not_over_so_it_cannot_be_deleted_or_tried_again(self, service, paused):
        for refused in (service.delete, service.retry):
            with pytest.raises(Conflict) as error:
                refused(paused)
            assert error.value.state == "paused"

    def test_it_keeps_the_job_that_it_starts_from(self, service):
        job, work = service.running()
        service.save(work)
        service.finish(work, "failed", "diverged")
        heir = service.retry(job).id
        service.pause(heir)
        with pytest.raises(Conflict):
            service.delete(job)
        service.cancel(heir)
        service.delete(job)

    def test_labels_know_that_it_is_paused(self, database, service):
        from app.store.listing import JobFilters, places

        job = service.submit(labels={"team": "vision"}).id
        service.pause(job)
        filters = JobFilters(states=("paused",), labels={"team": "vision"})
        with database.read() as session:
            assert [found for _, found in places(session, filters, None, 5, newest_first=True)] == [job]


def test_the_states_that_end_are_not_paused():
    assert "paused" not in FINAL


def test_a_patch_that_changes_nothing_is_no_change(service, database):
    job = service.submit(name="n", labels={"a": "b"}, priority=2)
    for patch in ({}, {"name": "n"}, {"labels": {"a": "b", "gone": None}}, {"priority": 2}):
        assert service.patch(job.id, patch).version == job.version
    assert [kind for kind, _ in service.events(job.id)] == ["created"]
    service.patch(job.id, {"name": "n", "priority": 3})
    assert service.events(job.id)[-1] == ("updated", {"fields": ["priority"]})
    with database.write() as session:
        session.execute(update(jobs).values(name="x"))
    assert service.patch(job.id, {"name": "n"}).name == "n"
