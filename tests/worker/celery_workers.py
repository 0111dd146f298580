"""Celery workers as real processes, as fixtures."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worker import processes, records

HERE = Path(__file__).parent
WORKER = [
    *(sys.executable, "-m", "celery", "-A", "worker.celery_app", "worker"),
    *("--pool", "solo", "--queues", "trainyard", "--loglevel", "INFO"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
]


@pytest.fixture
def start_worker(home, door, tmp_path):
    """Start Celery workers; what a failed test leaves of them, and of their supervisors, is killed."""
    started = []

    def start(mode="quick", **settings):
        environment = os.environ | {
            "TRAINYARD_HOME": str(home),
            "TRAINYARD_WORKER_ID": "w",
            "TRAINYARD_TRAINING_COMMAND": json.dumps([sys.executable, str(HERE / "fake_run.py"), mode]),
            "TRAINYARD_DRAIN_S": "10",
            "PYTHONPATH": str(HERE.parents[1]),
            **settings,
        }
        log = (tmp_path / "worker.log").open("ab")
        with log:
            process = subprocess.Popen(
                WORKER, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
    for record in records.all_of(home / "run" / "attempts", "w").values():
        if record.supervisor:
            processes.send(record.supervisor, signal.SIGKILL)
            processes.wait_for(record.supervisor, 5)
            processes.kill(processes.session_leftovers(record.supervisor))


@pytest.fixture
def log(tmp_path):
    return (tmp_path / "worker.log").read_text
