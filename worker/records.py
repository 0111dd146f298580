"""One small file per running supervisor: how a worker that was killed and started again finds what it left running.

`HOME/run/attempts/<job>-<attempt>.json`, readable by the owner alone, since it holds the attempt's token. The worker
writes it before it starts the supervisor; the supervisor adds itself and its launcher, and removes the file when the
service has taken its end. So a file whose supervisor is dead means: it died without finishing.
"""

import hashlib
import os
import time
from pathlib import Path

from pydantic import BaseModel, ValidationError

from app.contract.work import JobWork, Work
from worker import processes
from worker.processes import Identity

STARTING_S = 10.0  # a supervisor names itself within 0.1 s; a loaded machine gets a hundred times that


class Record(BaseModel):
    """A supervisor and what it works on; `steward`: who leads the session of a run that was forked from a warm parent,

    which is not the supervisor's. `recoveries` counts the supervisors that tried to end a dead one's work."""

    worker: str
    work: Work
    supervisor: Identity | None = None
    launcher: Identity | None = None
    steward: Identity | None = None
    recoveries: int = 0


def name_of(work: Work) -> str:
    """`<job>-<attempt>`; a task claimed again gets a name of its own, by a hash of its token."""
    if isinstance(work, JobWork):
        return f"{work.job}-{work.attempt}"
    return f"{work.task}-{hashlib.sha256(work.token.encode()).hexdigest()[:8]}"


def write(path: Path, record: Record) -> None:
    """Replace the file at once: a reader sees the old or the new record, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(record.model_dump_json())
    temporary.replace(path)


def read(path: Path) -> Record | None:
    """The record, or None when the file is gone or unreadable (a full disk can leave an empty one)."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def remove(path: Path) -> None:
    """Forget it: the work has ended and the service knows."""
    path.unlink(missing_ok=True)


def all_of(folder: Path, worker: str) -> dict[Path, Record]:
    """The records of this worker. Files that hold no record are removed: nothing can be done with them."""
    found: dict[Path, Record] = {}
    for path in sorted(folder.glob("*.json")):
        record = read(path)
        if record is None:
            remove(path)
        elif record.worker == worker:
            found[path] = record
    return found


def running(path: Path, record: Record) -> bool:
    """Whether its supervisor lives, or was started so lately that it may not have named itself yet."""
    if record.supervisor is not None:
        return processes.alive(record.supervisor)
    try:
        age_s = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    # A clock that was set back would else make a supervisor that never named itself "lately started" for as long.
    return abs(age_s) < STARTING_S
