"""The machine: users, workers (also those that were replaced long ago), upkeep and restarts, in any order.

To add a state that a user wishes for, add its rule beside `cancel` and where it leads to `outcomes.AFTER_WISH`; the
ways between states are read from `app.contract.states.NEXT`. Every answer that refuses must leave every row as it was.
"""

from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, precondition, rule

from app.contract.states import ACTIVE, FINAL
from app.settings import Settings
from app.store.session import Database
from tests.machine import invariants, outcomes, rows
from tests.machine.book import Book, Grace, Work, check_claim
from tests.machine.replica import Answer, Replica
from tests.machine.rows import Row
from tests.support.service import SPEC, checkpoint, metrics, processes, worker

SLOTS = 4
UNFORESEEN = 500
RESTART_AFTER = 12
"""Steps: a new app costs as much as ten of them."""
VALUES = st.sampled_from([0.5, -1.0, 1e300, 5e-324, "NaN", "Infinity", "-Infinity"])
EVENTS = st.one_of(
    st.builds(metrics, st.integers(1, 25), VALUES, st.sampled_from(["train/loss", "val/accuracy"])),
    st.builds(checkpoint, st.integers(1, 25)),
    st.just({"type": "phase", "phase": "training"}),
)
ENDS = st.sampled_from(
    [
        ("succeeded", None), ("failed", "diverged"), ("failed", "gate_missed"), ("failed", "crashed"),
        ("released", None),
    ]
)  # fmt: skip


def step(**given: Any) -> Callable[[Callable[..., Any]], Any]:
    """A rule, and behind it all that must hold. (As hypothesis' invariants it would be half of a failing example.)"""

    def decorate(act: Callable[..., Any]) -> Any:
        @wraps(act)
        def checked(self: Any, **arguments: Any) -> Any:
            outcome = act(self, **arguments)
            self.check()
            return outcome

        return rule(**given)(checked)

    return decorate


class Machine(RuleBasedStateMachine):
    """Each rule is one request, or one deed of upkeep, and says what must come of it."""

    database: ClassVar[Database]  # to look at the rows; the service has its own
    settings: ClassVar[Settings]
    steps: ClassVar[int]
    number: ClassVar[int]  # the seed
    tally: ClassVar[Counter[str]]  # what was met, so that nobody takes a run that met nothing for a proof
    replica: ClassVar[Replica]  # of all runs: what its engine has compiled is kept
    made: Bundle[str] = Bundle("made")
    works: Bundle[Work] = Bundle("works")

    def __init__(self) -> None:
        super().__init__()
        self.replica.begin_upkeep()
        rows.clear(self.database)
        self.book, self.grace = Book(), Grace(self.settings.lease_s)
        self.age = 0
        self.before = self.rows = rows.read(self.database)

    # users

    @step(target=made, count=st.sampled_from([1, 2]), priority=st.integers(-1, 1),
          key=st.sampled_from([None, None, "k1", "k2"]), time_s=st.sampled_from([1000, 100_000]))  # fmt: skip
    def submit(self, count: int, priority: int, key: str | None, time_s: int) -> Any:
        limits = {"limits": {"max_duration_s": time_s}}
        body = SPEC | processes(count) | limits | {"priority": priority, "labels": {"team": "a"}}
        answer = self.ask("POST", "/v1/jobs", body, {"Idempotency-Key": key} if key else None)
        known = self.book.keys.get(key or "")
        if known and known[0] != body:
            assert answer.status == 422
            return multiple()
        assert answer.status == 201
        job = str(answer.body["id"])
        if known:
            assert (job, answer.headers["Idempotency-Replayed"]) == (known[1], "true")
            return multiple()
        if key:
            self.book.keys[key] = (body, job)
        return self.book.accepted(job)

    @step(job=made)
    def cancel(self, job: str) -> None:
        answer, row = self.ask("POST", f"/v1/jobs/{job}/cancel"), self.before.jobs.get(job)
        if row is None:
            assert answer.status == 404
        elif row["state"] in ACTIVE:
            assert (answer.status, answer.body["stop_requested"]) == (202, "cancel")
            self.book.wished[job] = "cancel"
        else:
            assert answer.status == (409 if row["state"] in ("succeeded", "failed") else 200)
            assert answer.status == 409 or answer.body["state"] == "cancelled"

    @step(job=made)
    def pause(self, job: str) -> None:
        answer, row = self.ask("POST", f"/v1/jobs/{job}/pause"), self.before.jobs.get(job)
        if row is None:
            assert answer.status == 404
        elif row["state"] in FINAL or self.book.wished.get(job) == "cancel":
            assert answer.status == 409
        elif row["state"] in ACTIVE:
            assert (answer.status, answer.body["stop_requested"]) == (202, "pause")
            self.book.wished[job] = "pause"
        else:
            assert (answer.status, answer.body["state"]) == (200, "paused")

    @step(job=made)
    def resume(self, job: str) -> None:
        answer, row = self.ask("POST", f"/v1/jobs/{job}/resume"), self.before.jobs.get(job)
        if row is None:
            assert answer.status == 404
        elif row["state"] in FINAL or self.book.wished.get(job) == "cancel":
            assert answer.status == 409
        else:
            was_wished = self.book.wished.pop(job, None)
            state = "queued" if row["state"] == "paused" else row["state"]
            assert (answer.status, answer.body["state"]) == (202 if was_wished else 200, state)

    @step(target=made, job=made)
    def retry(self, job: str) -> Any:
        answer, row = self.ask("POST", f"/v1/jobs/{job}/retry"), self.before.jobs.get(job)
        if row is None or row["state"] not in FINAL:
            assert answer.status == (404 if row is None else 409)
            return multiple()
        assert (answer.status, answer.body["cloned_from"]) == (201, job)
        return self.book.accepted(answer.body["id"])

    @step(target=made, job=made, priority=st.integers(-1, 1))
    def clone(self, job: str, priority: int) -> Any:
        answer = self.ask("POST", f"/v1/jobs/{job}/clone", {"priority": priority})
        if job not in self.book.jobs:
            assert answer.status == 404
            return multiple()
        assert (answer.status, answer.body["priority"]) == (201, priority)
        return self.book.accepted(answer.body["id"])

    @step(job=made, priority=st.integers(-1, 1), team=st.sampled_from(["a", "b", None]))
    def patch(self, job: str, priority: int, team: str | None) -> None:
        answer = self.ask("PATCH", f"/v1/jobs/{job}", {"priority": priority, "labels": {"team": team}})
        assert answer.status == (200 if job in self.book.jobs else 404)

    @step(job=made)
    def delete(self, job: str) -> None:
        answer, row = self.ask("DELETE", f"/v1/jobs/{job}"), self.before.jobs.get(job)
        if row is None:
            assert answer.status == 404
        elif row["state"] not in FINAL or any(self._needs(each, job) for each in self.before.of("jobs")):
            assert answer.status == 409
        else:
            assert answer.status == 204
            self.book.deleted(job)

    @step(job=made)
    def look(self, job: str) -> None:
        answer, row = self.ask("GET", f"/v1/jobs/{job}"), self.rows.jobs.get(job)
        if row is None:
            assert answer.status == 404
            return
        assert (answer.status, answer.body["state"], answer.body["attempt"]) == (200, row["state"], row["attempt"])
        assert (answer.body["pending"] is not None) == (row["state"] == "queued")
        tag = {"If-None-Match": answer.headers["ETag"]}
        assert self.ask("GET", f"/v1/jobs/{job}", headers=tag).status == 304
        events = self.ask("GET", f"/v1/jobs/{job}/events?limit=1000").body["items"]
        assert [each["seq"] for each in events] == list(range(1, row["event_seq"] + 1))
        series = self.ask("GET", f"/v1/jobs/{job}/metrics").body["series"]
        chart = {(name, step): value for name, each in series.items() for step, value in outcomes.pairs(each)}
        assert chart == self.book.points[job]

    # workers

    @step(target=works, name=st.sampled_from(["w1", "w2"]))
    def claim(self, name: str) -> Any:
        answer = self.ask("POST", "/internal/v1/claims", worker(name, SLOTS).model_dump(mode="json"))
        assert answer.status in (200, 204)
        work = outcomes.work(answer.body, name) if answer.status == 200 else None
        check_claim(self.before, self.rows, name, SLOTS, work, self.settings.starvation_s)
        return self.book.claimed(work) if work else multiple()

    @step(work=works)
    def start(self, work: Work) -> None:
        assert self.say(work, "start").status == (204 if self.book.holds(work) else 410)

    @step(work=works)
    def heartbeat(self, work: Work) -> None:
        answer = self.say(work, "heartbeat")
        assert answer.status == (200 if self.book.holds(work) else 410)
        assert answer.status == 410 or answer.body["stop"] == self.book.wished.get(work.job)

    @step(work=works, step=st.integers(-2, 1), events=st.lists(EVENTS, min_size=1, max_size=4))
    def report(self, work: Work, step: int, events: list[dict[str, Any]]) -> None:
        """From `step` places behind the next event on: 0 is new, below that sent again in part, 1 leaves a gap."""
        first = max(self.book.reported[work] + 1 + step, 1)
        batch = [{"seq": seq, "time": "2026-11-21T10:00:00Z", **each} for seq, each in enumerate(events, first)]
        answer = self.say(work, "reports", events=batch)
        if not self.book.holds(work):
            assert answer.status == 410
        elif first > self.book.reported[work] + 1:
            assert answer.status == 409
        else:
            assert (answer.status, answer.body["acknowledged"]) == (200, self.book.learn(work, batch))

    @step(work=works, end=ENDS)
    def finish(self, work: Work, end: tuple[str, str | None]) -> None:
        self._finish(work, end)

    @precondition(lambda self: self.book.fenced)
    @step(which=st.integers(0, 99), end=ENDS)
    def finish_what_another_has(self, which: int, end: tuple[str, str | None]) -> None:
        """By chance alone it would be met too seldom: most works are held, or were finished by their workers."""
        self._finish(self.book.fenced[which % len(self.book.fenced)], end)

    def _finish(self, work: Work, end: tuple[str, str | None]) -> None:
        answer = self.say(work, "finish", **outcomes.finish(*end))
        if self.book.holds(work):
            wished = self.book.wished.get(work.job)
            self.book.ended(work, by_itself=True)
            assert answer.status == 200
            assert answer.body["state"] in outcomes.after(*end, wished)
            assert bool(self.rows.of("artifacts", job_id=work.job)) == outcomes.leaves_files(*end)
        elif work in self.book.finished and work.job in self.book.jobs:
            assert (answer.status, answer.body["state"]) == (200, self.rows.jobs[work.job]["state"])
            assert self.rows.tables == self.before.tables, rows.difference(self.before, self.rows)
        else:
            assert answer.status == 410

    # time

    @step(seconds=st.sampled_from([11, 25, 70, 700]), ticking=st.booleans())
    def let_time_pass(self, seconds: int, ticking: bool) -> None:
        """`ticking`: upkeep went on meanwhile; else the service was away, too."""
        self._let_time_pass(seconds, ticking=ticking)

    @step()
    def expire(self) -> None:
        """A lease's length goes by under regular upkeep: whoever was silent is lost."""
        self.tick()
        self._let_time_pass(self.settings.lease_s + 10, ticking=True)
        self.tick()

    @step()
    def upkeep(self) -> None:
        """One round of it."""
        self.tick()

    def tick(self) -> None:
        """Upkeep ends what nobody holds, and nobody else; after its own silence it ends nobody."""
        self.replica.upkeep.tick()
        self._look()
        must, may = self.grace.tick(self.before.clock, self.rows.clock)
        for work in list(self.book.open.values()):
            lease_until = self.before.jobs[work.job]["lease_until"]
            state = self.rows.of("attempts", job_id=work.job, attempt=work.attempt)[0]["state"]
            if state == "open":
                assert not (must and lease_until < self.before.clock), f"{work} is held by nobody and waits for ever"
                continue
            assert state == "lost"
            assert may, f"{work} was ended though workers had a lease of grace"
            assert lease_until < self.rows.clock, f"{work} was ended though its lease lasts"
            self._check_lost(work)

    @precondition(lambda self: self.age > RESTART_AFTER)
    @step()
    def restart(self) -> None:
        self.replica.close()
        type(self).replica = Replica(self.settings)
        self.grace.restarted()
        self.age = 0
        self._look()
        assert self.rows.tables == self.before.tables, rows.difference(self.before, self.rows)

    # what holds after each

    def check(self) -> None:
        type(self).steps += 1
        self.age += 1
        for holds in invariants.ALL:
            holds(self.before, self.rows, self.book)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """A request: never an answer that nobody foresaw; one that refuses changes nothing."""
        answer = self.replica.ask(method, path, body, headers)
        self._look()
        last = path.rpartition("/")[2]
        self.tally[f"{method if last.startswith('job_') else last} {answer.status}"] += 1
        assert answer.status < UNFORESEEN, f"{method} {path}: {answer.body}"
        if answer.status >= 400:
            assert self.rows.tables == self.before.tables, rows.difference(self.before, self.rows)
        return answer

    def say(self, work: Work, what: str, **body: Any) -> Answer:
        """A worker's request, with its own token, however old that is."""
        return self.ask("POST", f"{work.path}/{what}", {"token": work.token, **body})

    def _let_time_pass(self, seconds: float, *, ticking: bool) -> None:
        self.replica.let_time_pass(seconds, ticking=ticking)
        self.grace.let_time_pass(seconds, ticking=ticking)
        self._look()

    def _look(self) -> None:
        self.before, self.rows = self.rows, rows.read(self.database)

    def _check_lost(self, work: Work) -> None:
        row, wished = self.rows.jobs[work.job], self.book.wished.get(work.job)
        self.book.ended(work, by_itself=False)
        self.tally["lost"] += 1
        assert row["state"] in outcomes.after("lost", None, wished)
        if row["state"] == "failed":
            assert row["failure"]["code"] in ("lost_worker", "timeout", "crash_loop")

    @staticmethod
    def _needs(row: Row, job: str) -> bool:
        read = (row["resume_job"], row["model_job"], row["teacher_job"], row["baseline_job"])
        return row["state"] not in FINAL and job in read
