"""What holds after every step, whatever it was. Each takes the rows before and after it, and the book."""

from collections import Counter

from app.contract.states import ACTIVE, FINAL, NEXT, JobState
from app.store import buckets
from tests.machine.book import Book
from tests.machine.rows import Row, Rows

VISIBLE = ("name", "labels", "rank", "state", "stop_requested", "phase", "attempt", "progress", "latest_metrics",
           "failure", "report")  # fmt: skip
SETTLED = ("state", "attempt", "phase", "progress", "latest_metrics", "failure", "report", "spec", "stop_requested")


def each_job_is_where_it_was_acknowledged(before: Rows, after: Rows, book: Book) -> None:
    """Every acknowledged submit is one row in one state; nothing else is there."""
    assert Counter(row["id"] for row in after.of("jobs")) == dict.fromkeys(book.jobs, 1)
    assert all(JobState(row["state"]) for row in after.of("jobs"))
    for label in after.of("job_labels"):
        assert label["state"] == after.jobs[label["job_id"]]["state"], "the list's filter sees another state"


def final_states_never_change(before: Rows, after: Rows, book: Book) -> None:
    """A job that is over stays as it ended, until it is deleted."""
    for job, row in before.jobs.items():
        if row["state"] in FINAL and job in after.jobs:
            assert [row[name] for name in SETTLED] == [after.jobs[job][name] for name in SETTLED], job


def counters_only_grow(before: Rows, after: Rows, book: Book) -> None:
    """Version, attempt and the events' number; and whatever a user can see moves the version."""
    for job, row in before.jobs.items():
        later = after.jobs.get(job, row)
        assert later["attempt"] - row["attempt"] in (0, 1), job
        assert later["version"] >= row["version"], job
        assert later["event_seq"] >= row["event_seq"], job
        if [row[name] for name in VISIBLE] != [later[name] for name in VISIBLE]:
            assert later["version"] > row["version"], f"{job} looks different under the same ETag"


def attempts_are_those_that_were_given(before: Rows, after: Rows, book: Book) -> None:
    """At most one is open, and it is the one that the book knows; an active job has one, others none."""
    opened = after.of("attempts", state="open")
    assert {(row["job_id"], row["attempt"]) for row in opened} == {(w.job, w.attempt) for w in book.open.values()}
    assert len(opened) == len(book.open)
    assert {row["id"] for row in after.of("jobs") if row["state"] in ACTIVE} == set(book.open)
    numbers: dict[str, list[int]] = {}
    for row in after.of("attempts"):
        numbers.setdefault(row["job_id"], []).append(row["attempt"])
    for job, row in after.jobs.items():
        assert numbers.get(job, []) == list(range(1, row["attempt"] + 1)), job


def devices_in_use_are_those_of_open_attempts(before: Rows, after: Rows, book: Book) -> None:
    """None is held by anyone else, and none by two."""
    expected = {(work.worker, device): work.job for work in book.open.values() for device in work.devices}
    assert sum(len(work.devices) for work in book.open.values()) == len(expected), "a device was given twice"
    held = {(row["worker_id"], row["device_index"]): row["job_id"] for row in after.of("reservations")}
    assert held == expected


def events_tell_a_walk(before: Rows, after: Rows, book: Book) -> None:
    """Numbered 1..n without a gap; the states that they tell are a way through the table that ends where the job is."""
    told: dict[str, list[Row]] = {job: [] for job in after.jobs}
    for row in after.of("events"):
        told[row["job_id"]].append(row)
    for job, rows in told.items():
        rows.sort(key=lambda row: int(row["seq"]))
        assert [row["seq"] for row in rows] == list(range(1, after.jobs[job]["event_seq"] + 1)), job
        states = [JobState(row["data"]["state"]) for row in rows if row["type"] == "state"]
        walk = [JobState.QUEUED, *states]
        for here, there in zip(walk, states, strict=False):
            assert there in NEXT[here], f"{job} went {' -> '.join(walk)}"
        assert walk[-1] == after.jobs[job]["state"], job
        assert states.count(JobState.STARTING) == after.jobs[job]["attempt"], job


def nothing_that_was_reported_is_lost_or_doubled(before: Rows, after: Rows, book: Book) -> None:
    """Each (job, metric, step) once, with the value that came last; each checkpoint once, in order."""
    for job in book.jobs:
        assert after.points(job) == book.points[job], job
        saved = [row["step"] for row in sorted(after.of("checkpoints", job_id=job), key=lambda row: int(row["id"]))]
        assert saved == book.checkpoints[job], job
    told = {(work.job, work.attempt): seq for work, seq in book.reported.items() if work.job in book.jobs}
    assert {(row["job_id"], row["attempt"]): row["reported_seq"] for row in after.of("attempts")} == told


def closed_buckets_hold_every_point_once(before: Rows, after: Rows, book: Book) -> None:
    """At each level, a bucket that its series has moved beyond counts as many points as lie in it."""
    last = {row["id"]: row["last_step"] for row in after.of("metric_series")}
    expected = Counter(
        (row["series_id"], level, buckets.bucket_of(row["step"], level))
        for row in after.of("metric_points")
        for level in buckets.LEVELS
        if buckets.bucket_of(row["step"], level) < buckets.bucket_of(last[row["series_id"]], level)
    )
    counts = ("finite", "nans", "infinities", "negative_infinities")
    found = {
        (row["series_id"], row["level"], row["bucket"]): sum(row[name] for name in counts)
        for row in after.of("metric_buckets")
    }
    assert found == expected


def wishes_wait_on_active_jobs_alone(before: Rows, after: Rows, book: Book) -> None:
    """A stop that was wished is on the row until the attempt ends, and nowhere else."""
    assert {job: row["stop_requested"] for job, row in after.jobs.items() if row["stop_requested"]} == book.wished


ALL = (
    each_job_is_where_it_was_acknowledged,
    final_states_never_change,
    counters_only_grow,
    attempts_are_those_that_were_given,
    devices_in_use_are_those_of_open_attempts,
    events_tell_a_walk,
    nothing_that_was_reported_is_lost_or_doubled,
    closed_buckets_hold_every_point_once,
    wishes_wait_on_active_jobs_alone,
)
