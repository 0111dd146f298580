"""The end of a worker: its running jobs save, go back to the queue, and then it leaves."""

import logging
import os
import signal
import threading
import time
from pathlib import Path

from worker import leftovers, processes, records
from worker.records import Record
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

POLL_S = 0.1
EXTRA_S = 2.0  # for a supervisor's last words, behind the time to save
EXIT_S = 2.0


def begin(settings: WorkerSettings, claiming: threading.Thread) -> None:
    """Drain in a thread of its own; the interpreter waits for it before it ends. `claiming` was told to stop."""
    threading.Thread(target=_drain_and_leave, args=(settings, claiming), name="drain").start()


def drain(settings: WorkerSettings, claiming: threading.Thread) -> None:
    """SIGTERM to every supervisor of this worker, and wait for them; those that do not end in time are killed.

    A claim that is just being answered is waited for: it gets its supervisor, which is then told to stop.
    """
    deadline = time.monotonic() + settings.drain_s + EXTRA_S
    asked: set[Path] = set()
    while (running := _running(settings)) or claiming.is_alive():
        for path, record in running.items():
            if path not in asked and record.supervisor is not None:
                processes.send(record.supervisor, signal.SIGTERM)
                asked.add(path)
        if time.monotonic() > deadline:
            _kill(running)
            return
        time.sleep(POLL_S)
    log.info("drained: %d supervisors have ended", len(asked))


def _running(settings: WorkerSettings) -> dict[Path, Record]:
    """Looked up each time: one that was being started when the drain began is found a little later."""
    found = records.all_of(settings.records_dir, settings.worker_id)
    return {path: record for path, record in found.items() if records.running(path, record)}


def _kill(running: dict[Path, Record]) -> None:
    """Its launcher dies with a supervisor, and the ranks with the launcher; the group is killed all the same."""
    for path, record in running.items():
        log.error("%s did not end in time: killing it", path.stem)
        if record.supervisor is not None:
            processes.send(record.supervisor, signal.SIGKILL)
            processes.wait_for(record.supervisor, timeout_s=1.0)
            leftovers.end(records.read(path) or record)


def _drain_and_leave(settings: WorkerSettings, claiming: threading.Thread) -> None:
    try:
        drain(settings, claiming)
    finally:
        # Celery may sit in an endless wait for a broker that is down; then nothing else would end the process.
        main = threading.main_thread()
        main.join(EXIT_S)
        if main.is_alive():
            log.warning("Celery does not end by itself: leaving")
            logging.shutdown()
            os._exit(0)
