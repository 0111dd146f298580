"""Any order of what users, workers and upkeep can do leaves the database in a state that makes sense."""

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from app.contract.states import ACTIVE, FINAL
from app.errors import Conflict, Fenced
from app.store.tables import attempts, job_labels, jobs, reservations
from tests.support.databases import pass_time
from tests.support.service import Service, checkpoint, metrics, processes, worker

TOLERATED = (Conflict, Fenced)


class Lifecycle(RuleBasedStateMachine):
    """Jobs and their attempts; each rule is one call of a service."""

    service: ClassVar[Service]
    made = Bundle("made")
    works = Bundle("works")

    def __init__(self) -> None:
        super().__init__()
        self.mine: set[str] = set()
        self.seen: dict[str, Any] = {}
        self.reported: dict[tuple[str, int], int] = {}

    @rule(target=made, count=st.sampled_from([1, 2]), priority=st.integers(-1, 1))
    def submit(self, count: int, priority: int) -> str:
        job = self.service.submit(**processes(count), priority=priority, labels={"a": "b"})
        self.mine.add(job.id)
        return job.id

    @rule(target=works, name=st.sampled_from(["w1", "w2"]))
    def claim(self, name: str) -> Any:
        work = self.service.claim(worker(name, slots=2))
        return multiple() if work is None or work.job not in self.mine else work

    @rule(work=works)
    def start(self, work: Any) -> None:
        self.try_to(self.service.start, work)

    @rule(work=works)
    def heartbeat(self, work: Any) -> None:
        self.try_to(self.service.heartbeat, work)

    @rule(work=works, save=st.booleans())
    def report(self, work: Any, save: bool) -> None:
        seq = self.reported.get((work.job, work.attempt), 0) + 1
        event = checkpoint(seq) if save else metrics(seq, 1.0)
        if self.try_to(lambda: self.service.report(work, event, first=seq)):
            self.reported[work.job, work.attempt] = seq

    @rule(work=works, end=st.sampled_from([
        ("succeeded", None), ("failed", "diverged"), ("failed", "crashed"), ("released", None),
    ]))  # fmt: skip
    def finish(self, work: Any, end: tuple[str, str | None]) -> None:
        self.try_to(self.service.finish, work, *end)

    @rule(job=made)
    def cancel(self, job: str) -> None:
        self.try_to(self.service.cancel, job)

    @rule(job=made)
    def pause(self, job: str) -> None:
        self.try_to(self.service.pause, job)

    @rule(job=made)
    def resume(self, job: str) -> None:
        self.try_to(self.service.resume, job)

    @rule(seconds=st.sampled_from([5, 61, 301]))
    def let_time_pass(self, seconds: int) -> None:
        pass_time(self.service.database, seconds)

    @rule()
    def reap(self) -> None:
        self.service.reap()

    def try_to(self, act: Any, *arguments: Any) -> bool:
        try:
            act(*arguments)
        except TOLERATED:
            return False
        return True

    @invariant()
    def history_only_grows_and_ends_stay(self) -> None:
        with self.service.database.read() as session:
            rows = session.execute(select(jobs)).all()
        for row in rows:
            before = self.seen.get(row.id)
            if before is not None:
                assert row.version >= before.version
                assert row.attempt >= before.attempt
                assert row.event_seq >= before.event_seq
                unchanged = (row.state, row.version) == (before.state, before.version)
                assert before.state not in FINAL or unchanged
            self.seen[row.id] = row

    @invariant()
    def an_active_job_has_one_open_attempt_and_its_devices(self) -> None:
        with self.service.database.read() as session:
            active = {(row.id, row.attempt) for row in session.execute(select(jobs).where(jobs.c.state.in_(ACTIVE)))}
            opened = list(session.execute(select(attempts).where(attempts.c.state == "open")))
            held = session.execute(select(reservations)).all()
        assert {(row.job_id, row.attempt) for row in opened} == active
        assert len(opened) == len(active)
        expected = {(row.worker_id, device, row.job_id) for row in opened for device in row.devices}
        assert {(row.worker_id, row.device_index, row.job_id) for row in held} == expected

    @invariant()
    def labels_know_the_state(self) -> None:
        with self.service.database.read() as session:
            joined = select(jobs.c.state, job_labels.c.state.label("known")).join(job_labels)
            assert all(row.state == row.known for row in session.execute(joined))

    @invariant()
    def events_have_no_gap(self) -> None:
        for job in self.mine:
            states = [data["state"] for kind, data in self.service.events(job) if kind == "state"]
            assert not any(state in FINAL for state in states[:-1])

    def teardown(self) -> None:
        with self.service.database.write() as session:
            session.execute(jobs.delete())


QUICK = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
LONG = settings(QUICK, max_examples=60, stateful_step_count=60)


def test_any_order_of_calls_leaves_sense_behind(service):
    run_state_machine_as_test(_machine(service), settings=QUICK)


@pytest.mark.slow
def test_any_long_order_of_calls_leaves_sense_behind(service):
    run_state_machine_as_test(_machine(service), settings=LONG)


def _machine(service: Service) -> type[Lifecycle]:
    return type("Machine", (Lifecycle,), {"service": service})
