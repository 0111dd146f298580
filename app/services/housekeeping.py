"""What upkeep does beside reaping: remind workers, and remove what nobody asks for any more."""

import shutil
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

from sqlalchemy.orm import Session

from app.services import tasks as task_rules
from app.services import uploads, workers
from app.store import garbage, idempotency, marks, queue, tasks
from app.store.session import Database, settings_of

KEYS_KEPT_S = 7 * 86_400.0
PURGE_EVERY_S = 60.0
PROVE_EVERY_S = 5.0
MOST_FOLDERS = 1000
"""Of tasks that are over: removed at a time."""

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
    """Once a minute, in one replica: old results with their files, keys, workers and uploads; and a portion of deleted
    jobs' metrics.
    """
    with database.write() as session:
        if not marks.move_every(session, "purge", PURGE_EVERY_S):
            return
        tasks.purge(session, task_rules.KEPT_S)
        idempotency.purge(session, KEYS_KEPT_S)
        workers.forget_lost(session)
    uploads.sweep(database)
    _remove_task_folders(database)
    for _ in range(PORTIONS):
        if not _purge_portion(database):
            return


def _remove_task_folders(database: Database) -> None:
    """Those of tasks that are no more. A young one may be of a task that is being made."""
    folder = database.settings.storage_dir / "tasks"
    oldest_kept = time.time() - task_rules.KEPT_S
    all_old = (each for each in _entries(folder) if _modified_at(each) < oldest_kept)
    old = {each.name: each for each in islice(all_old, MOST_FOLDERS)}
    if not old:
        return
    with database.read() as session:
        known = tasks.ids_among(session, list(old))
    for name in old.keys() - known:
        shutil.rmtree(old[name], ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):  # no task has left any file
        return list(folder.iterdir())
    return []


def _modified_at(path: Path) -> float:
    with suppress(OSError):  # another replica removed it
        return path.stat().st_mtime
    return time.time()


def _purge_portion(database: Database) -> bool:
    with database.write() as session:
        return garbage.remove_points(session)
