"""What must be true when a trouble is over: nothing waits, runs or is held, nothing was lost or doubled."""

from collections.abc import Iterable

from tests.faults.yard import Yard

IS_END = (
    "type = 'state' AND ("
    + " OR ".join(f'CAST(data AS TEXT) LIKE \'%"state":"{state}"%\'' for state in ("succeeded", "failed", "cancelled"))
    + ")"
)
WAITING = {
    "jobs that are not over": "SELECT id FROM jobs WHERE state NOT IN ('succeeded', 'failed', 'cancelled')",
    "leases of jobs that are over": "SELECT id FROM jobs WHERE lease_until IS NOT NULL OR token_hash IS NOT NULL",
    "open attempts": "SELECT job_id FROM attempts WHERE state = 'open'",
    "devices that are held": "SELECT job_id FROM reservations",
    "tasks that are not over": "SELECT id FROM tasks WHERE state IN ('queued', 'running')",
    "data sets that are being looked at": "SELECT id FROM datasets WHERE state = 'importing'",
}
TWICE = {
    "jobs that succeeded and not in one attempt": (
        "SELECT jobs.id FROM jobs WHERE state = 'succeeded' AND 1 <> "
        "(SELECT count(*) FROM attempts WHERE job_id = jobs.id AND state = 'succeeded')"
    ),
    "events with a gap between their numbers": (
        "SELECT jobs.id FROM jobs WHERE event_seq <> (SELECT count(*) FROM events WHERE job_id = jobs.id)"
    ),
    "jobs that ended and not once": (
        f"SELECT jobs.id FROM jobs WHERE 1 <> (SELECT count(*) FROM events WHERE job_id = jobs.id AND {IS_END})"
    ),
}


IDLE = ("open attempts", "devices that are held")


def check_idle(yard: Yard) -> None:
    """Wait until nothing runs, and nothing is held."""
    _await_none(yard, IDLE)
    yard.until(lambda: not yard.leftovers(), "no process is left", yard.leftovers)
    folder = yard.home / "run" / "attempts"
    yard.until(lambda: not list(folder.glob("*.json")), "no record is left", lambda: list(folder.iterdir()))


def check_settled(yard: Yard) -> None:
    """Wait for the last breaths of what is over, then look."""
    _await_none(yard, WAITING)
    check_idle(yard)
    for what, query in TWICE.items():
        assert yard.rows(query) == [], what
    assert sorted(id_ for (id_,) in yard.rows("SELECT id FROM jobs")) == sorted(yard.submitted)


def _await_none(yard: Yard, names: Iterable[str]) -> None:
    for name in names:
        yard.until(lambda: not yard.rows(WAITING[name]), f"no {name}", lambda: yard.rows(WAITING[name]))  # noqa: B023
