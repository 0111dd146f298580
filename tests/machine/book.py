"""What a careful observer of the service's answers must believe: the model that the database is compared with."""

from dataclasses import dataclass, field
from typing import Any

from app.upkeep import MAX_GAP_S
from tests.machine.rows import Row, Rows

Value = float | str


@dataclass(frozen=True)
class Work:
    """A claim that a worker was given. It is kept for ever: workers that were replaced go on to use theirs."""

    job: str
    attempt: int
    token: str
    worker: str
    devices: tuple[int, ...]

    @property
    def path(self) -> str:
        return f"/internal/v1/jobs/{self.job}/attempts/{self.attempt}"


@dataclass
class Book:
    """Written from answers alone, but for leases: whether one ran out is upkeep's to say, and is checked there."""

    jobs: set[str] = field(default_factory=set)
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)
    open: dict[str, Work] = field(default_factory=dict)
    finished: set[Work] = field(default_factory=set)  # by their own workers
    wished: dict[str, str] = field(default_factory=dict)
    reported: dict[Work, int] = field(default_factory=dict)
    points: dict[str, dict[tuple[str, int], Value]] = field(default_factory=dict)
    checkpoints: dict[str, list[int]] = field(default_factory=dict)

    def accepted(self, job: str) -> str:
        assert job not in self.jobs, "an id was given twice"
        self.jobs.add(job)
        self.points[job], self.checkpoints[job] = {}, []
        return job

    def claimed(self, work: Work) -> Work:
        assert work.job not in self.open, "a job with an open attempt was given away"
        self.open[work.job] = work
        self.reported[work] = 0
        return work

    def holds(self, work: Work) -> bool:
        """Whether the worker may still write: everything else is fenced."""
        return self.open.get(work.job) == work

    @property
    def fenced(self) -> list[Work]:
        """Those whose workers never ended them, and may not any more."""
        return [work for work in self.reported if work not in self.finished and not self.holds(work)]

    def ended(self, work: Work, *, by_itself: bool) -> None:
        """The attempt is closed. By itself: its worker may say so again and is answered the same."""
        del self.open[work.job]
        self.wished.pop(work.job, None)
        if by_itself:
            self.finished.add(work)

    def learn(self, work: Work, events: list[dict[str, Any]]) -> int:
        """Events that were acknowledged: those that were known before are nothing new. Answers the last known."""
        for event in events:
            if event["seq"] <= self.reported[work]:
                continue
            self.reported[work] = event["seq"]
            if event["type"] == "metrics":
                self.points[work.job] |= {(name, event["step"]): value for name, value in event["values"].items()}
            elif event["type"] == "checkpoint":
                self.checkpoints[work.job].append(event["step"])
        return self.reported[work]

    def deleted(self, job: str) -> None:
        self.jobs.remove(job)
        self.keys = {key: (body, made) for key, (body, made) in self.keys.items() if made != job}


@dataclass
class Grace:
    """Whom upkeep may end, and whom it must. Its clock is read between ours before and ours after, so all are pairs."""

    lease_s: float
    ticked: tuple[float, float] | None = None
    until: tuple[float, float] = (0.0, 0.0)

    def let_time_pass(self, seconds: float, *, ticking: bool) -> None:
        self.until = (self.until[0] - seconds, self.until[1] - seconds)
        if self.ticked is not None and not ticking:
            self.ticked = (self.ticked[0] - seconds, self.ticked[1] - seconds)

    def restarted(self) -> None:
        self.ticked = None

    def tick(self, start: float, end: float) -> tuple[bool, bool]:
        """(expired leases must be ended, they may be)."""
        if self.ticked is None or start - self.ticked[1] > MAX_GAP_S:
            self.until = (start + self.lease_s, end + self.lease_s)
        elif end - self.ticked[0] > MAX_GAP_S:  # a slow machine: perhaps
            self.until = (self.until[0], end + self.lease_s)
        self.ticked = (start, end)
        return start >= self.until[1], end >= self.until[0]


def in_order(rows: list[Row]) -> list[Row]:
    """As the queue is served: priority, then age."""
    return sorted(rows, key=lambda row: (row["rank"], row["created_at"], row["id"]))


def check_claim(before: Rows, after: Rows, worker: str, slots: int, work: Work | None, starvation_s: float) -> None:
    """The right job was given, or rightly none. A job whose time comes at this very moment may be taken or left."""
    free = slots - len(before.of("reservations", worker_id=worker))
    queued = before.of("jobs", state="queued")
    fitting = [row for row in queued if row["processes"] <= free]
    ready = [row["id"] for row in in_order(fitting) if row["available_at"] <= before.clock]
    if work is None:
        patience = after.clock - starvation_s
        starving = [row for row in queued if row["processes"] > free and row["available_at"] < patience]
        assert not ready or starving, f"nothing was given, though {ready} are ready"
        return
    row = before.jobs[work.job]
    assert row in fitting, f"this job was not to be given: {row}"
    assert row["available_at"] <= after.clock, "it backs off"
    ahead = [each["id"] for each in in_order(fitting) if each["id"] in ready]
    ahead = ahead[: ahead.index(work.job)] if work.job in ahead else []
    assert not ahead, f"{ahead} come before {work.job}"
    assert (work.attempt, len(work.devices)) == (row["attempt"] + 1, row["processes"])
