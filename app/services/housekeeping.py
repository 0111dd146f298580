"""What upkeep does beside reaping: remind workers, and remove what nobody asks for any more."""

from sqlalchemy.orm import Session

from app.services import tasks as task_rules
from app.services import uploads, workers
from app.store import garbage, idempotency, marks, queue, tasks
from app.store.session import Database, settings_of

KEYS_KEPT_S = 7 * 86_400.0
PURGE_EVERY_S = 60.0
PROVE_EVERY_S = 5.0
PORTIONS = 100
"""Of points at a time: half a million, some seconds. Longer would look like a gap in upkeep's own ticks."""


def clock(session: Session) -> float:
    """The database's time."""
    return marks.clock(session)


def is_nudge_due(session: Session) -> bool:
    """Whether workers must be told of work, again or for the first time. True in one replica only."""
    is_due = queue.work_since(marks.LAST_DONE, settings_of(session).nudge_after_s)
    return marks.move(session, "nudge", is_due)


def prove_writable(session: Session) -> None:
    """Write a row, at most every few seconds: what a full disk refuses. As long as it does, every call tries again."""
    marks.move_every(session, "readiness", PROVE_EVERY_S)


def purge(database: Database) -> None:
    """Once a minute, in one replica: old results, keys, workers and uploads; a portion of deleted jobs' metrics."""
    with database.write() as session:
        if not marks.move_every(session, "purge", PURGE_EVERY_S):
            return
        tasks.purge(session, task_rules.KEPT_S)
        idempotency.purge(session, KEYS_KEPT_S)
        workers.forget_lost(session)
    uploads.sweep(database)
    for _ in range(PORTIONS):
        if not _purge_portion(database):
            return


def _purge_portion(database: Database) -> bool:
    with database.write() as session:
        return garbage.remove_points(session)
