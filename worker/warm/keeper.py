"""Keeps a warm parent beside the worker: starts it, asks it whether it lives, and starts the next one when it ends.

A thread of the Celery process. The kernel ends the parent when this thread ends, however that comes about, so that
nothing is left of it; runs that were forked from it do not notice.
"""

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time

from worker import environment, processes
from worker.processes import Identity
from worker.settings import WorkerSettings
from worker.warm import messages, title

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "worker.warm.parent")
PROGRAM = "worker.training.warm"
ASK_S = 15.0  # between two questions whether it lives
ANSWER_S = 10.0
LOAD_S = 600.0  # a network file system, a busy host; the libraries load in 5 s
POLL_S = 0.1
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 600.0  # before the next one, when one could not serve


class Keeper(threading.Thread):
    """Start it once per process."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(name="warm", daemon=True)
        self._settings = settings
        self._path = messages.address(settings.run_dir, settings.worker_id)
        self._note_of_it = self._path.with_suffix(".json")
        self._stopped = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._pause_s = FIRST_PAUSE_S

    def stop(self) -> None:
        """Nothing more is forked. May be called from a signal handler."""
        self._stopped = True
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Until stopped. A parent that cannot serve is tried again, ever later."""
        self._end_leftover()
        while not self._stopped:
            try:
                served = self._keep_one()
            except OSError as error:
                log.warning("no warm parent: %s", error)
                served = False
            self._pause_s = FIRST_PAUSE_S if served else min(self._pause_s * 2, LONGEST_PAUSE_S)
            self._wait(0.0 if served else self._pause_s)

    def _wait(self, seconds: float, *descriptors: int) -> None:
        """For so long, or until stopped, or until a process of these pidfds has ended."""
        waiting = select.poll()
        for each in (self._wake, *descriptors):
            waiting.register(each, select.POLLIN)
        waiting.poll(seconds * 1000)

    def _end_leftover(self) -> None:
        """One that an earlier worker could not take with it, and its socket."""
        try:
            left = Identity.model_validate_json(self._note_of_it.read_bytes())
        except (OSError, ValueError):
            return
        processes.send(left, signal.SIGKILL)
        processes.wait_for(left, timeout_s=5.0)
        self._forget()

    def _keep_one(self) -> bool:
        """One parent, from its start to its end. Whether it has served, and ended as it should."""
        process = self._start()
        try:
            self._note_of_it.write_text(processes.identity(process.pid).model_dump_json())
            if not self._ready_in_time(process):
                return False
            log.info("runs are forked from a warm parent: process %d", process.pid)
            return self._served(process)
        finally:
            process.kill()
            process.wait()
            self._forget()

    def _served(self, process: "subprocess.Popen[bytes]") -> bool:
        with processes.pidfd(process.pid) as descriptor:
            while True:
                self._wait(ASK_S, descriptor)
                if self._stopped or process.poll() is not None:
                    return process.poll() == 0
                if not self._answers():
                    log.warning("the warm parent does not answer: killing it")
                    return False

    def _start(self) -> "subprocess.Popen[bytes]":
        settings = self._settings
        program = settings.warm_program or PROGRAM
        span = (str(settings.warm_attempts), str(settings.warm_hours))
        output = settings.home.expanduser() / "logs" / "warm.log"
        for folder in (output.parent, self._path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        with output.open("ab") as file:
            return subprocess.Popen(
                [*COMMAND, str(self._path), program, str(os.getpid()), *span, title.ROOM],
                env=environment.for_run("cpu", [], None) | settings.cache_environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _ready_in_time(self, process: "subprocess.Popen[bytes]") -> bool:
        deadline = time.monotonic() + LOAD_S
        while process.poll() is None and time.monotonic() < deadline:
            if self._path.exists():
                return True
            self._wait(POLL_S)
            if self._stopped:
                return False
        log.warning("the warm parent cannot serve, runs start cold; logs/warm.log may say why")
        return False

    def _answers(self) -> bool:
        try:
            with messages.connect(self._path, ANSWER_S) as connection:
                connection.send(messages.PING)
                return connection.recv(len(messages.PONG)) == messages.PONG
        except OSError:
            return False

    def _forget(self) -> None:
        for path in (self._path, self._note_of_it):
            path.unlink(missing_ok=True)
