"""Processes are known by more than their id, and end when they are told to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import Popen

import pytest

from app.cli.processes import Child, Command, PidFile, alive, end, identify

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
)


@pytest.fixture
def sleeper() -> Iterator[Popen[bytes]]:
    with Popen(SLEEP) as process:
        yield process
        process.kill()


def test_a_process_is_alive_until_it_ends_and_a_zombie_is_not(sleeper: Popen[bytes]) -> None:
    who = identify(sleeper.pid)
    assert who
    assert alive(who)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not alive(who)


def test_another_process_that_got_the_same_id_is_not_it(sleeper: Popen[bytes]) -> None:
    who = identify(sleeper.pid)
    assert who
    assert not alive(replace(who, start_ticks=who.start_ticks - 1))
    assert not alive(replace(who, boot="an earlier one"))


def test_a_process_that_hears_sigterm_ends_by_it(sleeper: Popen[bytes]) -> None:
    who = identify(sleeper.pid)
    assert who
    end(who, 10.0)
    assert sleeper.wait() == -signal.SIGTERM


def test_a_process_that_does_not_hear_sigterm_is_killed() -> None:
    with Popen(STUBBORN, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"deaf\n"
        who = identify(process.pid)
        assert who
        end(who, 0.2)
        assert process.wait() == -signal.SIGKILL


def test_a_pid_file_names_its_process_while_it_lives(tmp_path: Path, sleeper: Popen[bytes]) -> None:
    file = PidFile(tmp_path / "sleeper.pid")
    assert file.living() is None
    file.write(sleeper.pid)
    assert file.living() == identify(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert file.living() is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', "null"])
def test_a_spoiled_pid_file_names_nobody(tmp_path: Path, content: str) -> None:
    path = tmp_path / "spoiled.json"
    path.write_text(content)
    assert PidFile(path).living() is None


def test_a_child_has_a_session_of_its_own_and_writes_into_its_log(tmp_path: Path) -> None:
    arguments = (sys.executable, "-c", "import os; print('session', os.getsid(0) == os.getpid()); raise SystemExit(3)")
    child = Child(Command("one", arguments, dict(os.environ)), tmp_path, tmp_path)
    child.start()
    while child.running:
        pass
    assert child.tail() == ["session True"]
    assert child.ending() == "ended with code 3"


def test_a_child_that_is_killed_is_forgotten(tmp_path: Path) -> None:
    child = Child(Command("sleeper", SLEEP, dict(os.environ)), tmp_path, tmp_path)
    child.start()
    assert PidFile(tmp_path / "sleeper.pid").living()
    child.kill()
    assert not child.running
    assert child.ending() == "was killed by SIGKILL"
    assert not (tmp_path / "sleeper.pid").exists()
