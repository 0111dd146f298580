"""Fault points: places between two steps where a test can stop a process, and then do to it what it likes.

Off unless `TRAINYARD_FAULT_POINTS` names a folder when the process starts; `reach` then costs one comparison. A test
puts the file `NAME.armed` there. The first thread that comes by renames it to `NAME.reached`, with its process id
inside, and waits until the test removes that file. So real faults (SIGKILL, a stopped database, a full disk) fall at
exactly that moment, and no code for tests runs in the service but this.
"""

import contextlib
import os
import threading
import time
from enum import Enum
from pathlib import Path

VARIABLE = "TRAINYARD_FAULT_POINTS"
WAIT_S = 120.0  # a test that died must not leave a process that waits for it
POLL_S = 0.02


class Point(Enum):
    """Every place where a crash could fall between two steps. Each is reached at exactly one line of the source."""

    SUBMIT_BEFORE_COMMIT = "The rows of a new job are written, their transaction is open."
    SUBMIT_BEFORE_ANSWER = "A new job is durable, its client does not know."
    COMMIT_BEFORE_NUDGE = "Work is durable, no worker was told."
    CANCEL_BEFORE_COMMIT = "A stop wish is written, its transaction is open."
    CANCEL_BEFORE_ANSWER = "A stop wish is durable, its client does not know."
    PAUSE_BEFORE_COMMIT = "A wish to pause is written, its transaction is open."
    PAUSE_BEFORE_ANSWER = "A wish to pause is durable, its client does not know."
    RESUME_BEFORE_COMMIT = "A paused job is queued again, the transaction is open."
    RESUME_BEFORE_ANSWER = "A paused job is queued again, its client does not know."
    CLAIM_BEFORE_COMMIT = "A job is given to a worker, the transaction is open."
    CLAIM_BEFORE_ANSWER = "A job is given to a worker, who does not know."
    START_BEFORE_COMMIT = "A job is running, the transaction is open."
    START_BEFORE_ANSWER = "A job is running, its supervisor does not know."
    HEARTBEAT_BEFORE_COMMIT = "A lease is extended, the transaction is open."
    HEARTBEAT_BEFORE_ANSWER = "A lease is extended, its supervisor does not know."
    REPORT_BEFORE_COMMIT = "Reported events are written, the transaction is open."
    REPORT_BEFORE_ANSWER = "Reported events are durable, not acknowledged."
    FINISH_BEFORE_COMMIT = "A job's end is written, the transaction is open."
    FINISH_BEFORE_ANSWER = "A job is over, its supervisor does not know."
    TASK_FINISH_BEFORE_COMMIT = "A background task's result is written, the transaction is open."
    TASK_FINISH_BEFORE_ANSWER = "A background task is over, its supervisor does not know."
    REAP_BEFORE_UPDATE = "An expired lease was read, and nothing written."
    REAP_BEFORE_COMMIT = "An expired attempt is ended, the transaction is open."
    REAP_TASK_BEFORE_UPDATE = "A background task's expired lease was read, and nothing written."
    REMIND_BEFORE_NUDGE = "Upkeep has noted that it reminds the workers, and has not."

    CLAIMED_BEFORE_RECORD = "A worker holds a claim that nothing on its host tells of."
    RECORDED_BEFORE_SPAWN = "A claim has its record, and no supervisor."
    SPAWNED_BEFORE_WATCH = "A supervisor runs, and nobody watches it."
    SUPERVISOR_BEFORE_NAME = "A supervisor runs, and its record does not name it."
    SUPERVISOR_BEFORE_LAUNCH = "A supervisor is named, and its run is not started."
    LAUNCHED_BEFORE_NAME = "A run is started, and the record does not name it."
    FORKED_BEFORE_TOLD = "A run is forked from the warm parent, and its supervisor does not know."
    NAMED_BEFORE_GO = "The record names a run, and a forked one still waits for its word."
    LAUNCHED_BEFORE_START = "A run is started, and the service does not know."
    STARTED_BEFORE_HEARTBEAT = "The service knows of a run, no heartbeat was sent."
    BEFORE_HEARTBEAT = "A heartbeat is due."
    BEFORE_REPORT = "Events were read from the run's file, none is sent."
    REPORTED_BEFORE_NOTED = "The service has acknowledged events, the supervisor has not noted it."
    STOP_BEFORE_SIGNAL = "A stop wish has arrived, and the run is not told."
    GONE_BEFORE_REPORT = "Nothing of a run is left, its last events are not handed over."
    ENDED_BEFORE_FINISH = "All events are handed over, the end is not."
    FINISHED_BEFORE_FORGET = "The service has taken the end, the record is still there."
    TASK_BEFORE_FINISH = "A background task has its result, the service does not."

    CACHED_BEFORE_RENAME = "A data set is decoded and written to the cache, its entry has no name."
    PREPARED_BEFORE_FORK = "A run's launcher is ready, no rank is forked."
    AGREED_BEFORE_SAVE = "The ranks have agreed to stop, no checkpoint of that step is begun."
    CHECKPOINT_BEFORE_RENAME = "A checkpoint is written and synced, under its temporary name."
    CHECKPOINT_BEFORE_EVENT = "A checkpoint is durable, nobody is told."
    CHECKPOINT_BEFORE_DROP = "A checkpoint is reported, older ones are still there."
    TRAINED_BEFORE_EXPORT = "The last step is saved, the model's files are not written."
    WEIGHTS_BEFORE_CARD = "The model's weights are written, its card is not."
    EXPORTED_BEFORE_MEASURE = "The model's files are written, its report is not."
    CONVERTED_BEFORE_MEASURE = "The model's other formats are written, nobody has run them, its report is not."
    MEASURED_BEFORE_END = "All files are written, the run's last event is not."
    JUDGED_BEFORE_END = "A run has missed a gate, all files are written, its last event is not."
    SAVED_BEFORE_STOPPED = "A run that was asked to stop has saved, its last event is not written."


_folder = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def reach(point: Point) -> None:
    """Wait here if a test has armed this point; nothing, and no time, otherwise."""
    if _folder is not None:
        _wait_at(_folder, point.name)


def _wait_at(folder: Path, name: str) -> None:
    mine = folder / f"{name}.{os.getpid()}.{threading.get_ident()}"
    try:
        (folder / f"{name}.armed").rename(mine)  # of several that come by, one gets it
    except OSError:
        return
    reached = folder / f"{name}.reached"
    with contextlib.suppress(OSError):
        mine.write_text(str(os.getpid()))
        mine.rename(reached)
    deadline = time.monotonic() + WAIT_S
    while reached.exists() and time.monotonic() < deadline:
        time.sleep(POLL_S)
