"""What a supervisor that died left running. Ranks die with their launcher; this is for what does not."""

import logging
import time

from worker import processes
from worker.records import Record

log = logging.getLogger(__name__)

KILL_WAIT_S = 10.0


def end(record: Record) -> None:
    """Kill all that still runs for the record of a dead supervisor, and return when it is gone."""
    for _ in range(int(KILL_WAIT_S / processes.POLL_S)):
        left = _left(record)
        if not left:
            return
        processes.kill(left)
        time.sleep(processes.POLL_S)
    log.error("processes that do not die of SIGKILL: %s", left)


def _left(record: Record) -> list[int]:
    """Of its session, and of the session of a run that was forked from a warm parent, whose leader is the steward."""
    found = processes.session_leftovers(record.supervisor) if record.supervisor else []
    if record.steward and processes.alive(record.steward):
        return [*found, record.steward.pid]
    return found + (processes.session_leftovers(record.steward) if record.steward else [])
