"""A supervisor that waits for its work: used once, gone with its worker, and never in the way of another."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker.conftest import FAKE_RUN, TOKEN
from worker import processes, records, spare
from worker.records import Record
from worker.spare import Spare

ROOT = FAKE_RUN.parents[2]


@pytest.fixture
def keep_spare(home, monkeypatch):
    """Keep one in this process, which stands for the worker."""
    monkeypatch.setattr(spare, "PAUSE_S", 0.0)
    known = {
        "TRAINYARD_HOME": str(home),
        "TRAINYARD_WORKER_TOKEN": TOKEN,
        "TRAINYARD_TRAINING_COMMAND": json.dumps([sys.executable, str(FAKE_RUN), "quick"]),
        "PYTHONPATH": str(ROOT),
    }
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    made = []

    def start(kept=True):
        made.append(Spare(kept=kept))
        made[-1].prepare_soon()
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def claimed(home, job_work):
    """The path of a record that a worker has just written, and the supervisor's log."""
    work = job_work()
    path = home / "run" / "attempts" / f"{records.name_of(work)}.json"
    records.write(path, Record(worker="w", work=work))
    return path, home / "supervisor.log"


def test_it_does_the_work_in_a_session_of_its_own_and_writes_to_its_log(door, keep_spare, claimed, eventually):
    kept = keep_spare()

    process = eventually(lambda: kept.take(*claimed), "one waits")

    assert processes.stat(process.pid).session == process.pid
    assert process.wait(60) == 0
    assert [end["outcome"] for end in door.finishes] == ["succeeded"]
    assert "the attempt succeeded" in claimed[1].read_text()
    assert not claimed[0].exists()


def test_each_is_used_once(door, keep_spare, claimed, eventually):
    kept = keep_spare()
    first = eventually(lambda: kept.take(*claimed), "one waits")

    assert kept.take(*claimed) is None
    assert first.wait(60) == 0
    kept.prepare_soon()
    second = eventually(lambda: kept.take(*claimed), "another waits")
    second.wait(60)

    assert first.pid != second.pid
    assert "holds no work" in claimed[1].read_text(), "the first has done it"


def test_one_that_was_killed_is_not_given_work(keep_spare, claimed, eventually):
    kept = keep_spare()
    waiting = eventually(lambda: kept._waiting, "one waits")

    waiting.kill()
    waiting.wait()

    assert kept.take(*claimed) is None


def test_one_of_older_code_is_not_given_work(keep_spare, claimed, eventually, monkeypatch):
    monkeypatch.setattr(spare, "fingerprint", lambda: "older")
    kept = keep_spare()
    eventually(lambda: kept._waiting, "one waits")
    who = processes.identity(kept._waiting.pid)
    monkeypatch.undo()

    assert kept.take(*claimed) is None
    assert not processes.alive(who)


def test_it_goes_when_its_worker_is_gone(home):
    command = [*spare.COMMAND, "--wait"]
    environment = os.environ | {"TRAINYARD_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        process.stdin.close()
        assert process.wait(60) == 0


def test_half_a_line_is_no_work(home):
    command = [*spare.COMMAND, "--wait"]
    environment = os.environ | {"TRAINYARD_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        process.stdin.write(b'{"record": "/')
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_worker_that_keeps_none_has_none(keep_spare, claimed):
    kept = keep_spare(kept=False)

    assert kept.take(*claimed) is None
    assert kept._timer is None


def test_a_worker_gives_work_to_the_one_that_waits(door, broker, start_worker, job_work, eventually):
    worker = start_worker("until_told", TRAINYARD_IDLE_ASK_S="0.5")

    def waiting():
        found = [each.pid for each in processes.every_process() if each.parent == worker.pid]
        return [pid for pid in found if "--wait" in _command(pid)]

    (pid,) = eventually(waiting, "a supervisor waits", timeout_s=120)
    work = job_work()
    door.waiting.append(work)
    record = door.home / "run" / "attempts" / f"{records.name_of(work)}.json"
    found = eventually(lambda: (read := records.read(record)) and read.launcher and read, "it works", timeout_s=120)

    assert found.supervisor.pid == pid
    (another,) = eventually(lambda: set(waiting()) - {pid}, "another waits", timeout_s=120)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    eventually(lambda: not (left := processes.stat(another)) or not left.alive, "it is gone with its worker")
    assert processes.alive(found.supervisor)


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
