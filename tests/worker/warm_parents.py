"""Warm parents as the worker keeps them, and supervisors that ask them for runs, as fixtures."""

import json
import os
import sys
from pathlib import Path

import pytest

from worker.settings import WorkerSettings
from worker.warm import messages
from worker.warm.keeper import Keeper

ROOT = Path(__file__).parents[2]
PROGRAM = "tests.worker.warm_run"


@pytest.fixture
def keep(home, monkeypatch, eventually):
    """Start a keeper in this process, and wait until its parent serves; answers the parent's process id."""
    keepers = []

    def start(program=PROGRAM, wait=True, **settings):
        cold = [sys.executable, "-m", program if program == PROGRAM else "worker.training"]
        known = {
            "TRAINYARD_HOME": str(home),
            "TRAINYARD_WORKER_ID": "w",
            "TRAINYARD_WARM_PROGRAM": program,
            "TRAINYARD_TRAINING_COMMAND": json.dumps(cold),
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        for name, value in known.items():
            monkeypatch.setenv(name, value)
        keepers.append(Keeper(WorkerSettings()))
        keepers[-1].start()
        return parent_of(home, eventually) if wait else None

    yield start
    for each in keepers:
        each.stop()
        each.join(30)
        assert not each.is_alive()


def address(home):
    """Where the parent listens."""
    return messages.address(home / "run", "w")


def parent_of(home, eventually):
    """The process id of the one that serves."""
    path = address(home)
    eventually(lambda: path.exists() and path.with_suffix(".json").exists(), "a warm parent serves", timeout_s=300)
    return json.loads(path.with_suffix(".json").read_text())["pid"]


@pytest.fixture
def warm_work(job_work):
    """A claimed job that does what `mode` names."""

    def make(mode, start="warm", **fields):
        work = job_work(**fields)
        spec = work.order.spec.model_copy(update={"labels": {"mode": mode}, "start": start})
        return work.model_copy(update={"order": work.order.model_copy(update={"spec": spec})})

    return make


@pytest.fixture
def started(door, supervise, warm_work, keep):
    """Start a supervisor whose run is forked from a warm parent, if there is one. Its own settings are the keeper's."""

    def start(mode, start="warm", attempt=1, work=None, **settings):
        command = json.dumps([sys.executable, "-m", PROGRAM])
        known = {"TRAINYARD_TRAINING_COMMAND": command, "PYTHONPATH": os.environ["PYTHONPATH"]}
        claimed = warm_work(mode, start, attempt=attempt, **(work or {}))
        return supervise(claimed, mode, **(known | settings))

    return start
