"""Who a process is, and whether it is gone."""

import os
import signal
import subprocess
import sys
import time

import pytest

from worker import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]


@pytest.fixture
def sleeper():
    process = subprocess.Popen(SLEEP, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_process_is_known_until_it_ends(sleeper):
    who = processes.identity(sleeper.pid)
    assert processes.alive(who)
    assert not processes.wait_for(who, timeout_s=0.01)

    processes.send(who, signal.SIGKILL)

    assert processes.wait_for(who, timeout_s=10)
    assert not processes.alive(who)


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot": "another"}])
def test_a_successor_with_the_same_pid_is_somebody_else(sleeper, change):
    who = processes.identity(sleeper.pid).model_copy(update=change)

    assert not processes.alive(who)
    assert processes.wait_for(who, timeout_s=10)
    processes.send(who, signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_zombie_is_not_alive(sleeper):
    who = processes.identity(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)

    assert processes.stat(sleeper.pid).state == "Z"
    assert not processes.alive(who)


def test_what_a_dead_leader_left_in_its_session_is_found():
    script = "import os, time\nif os.fork(): os._exit(0)\nos.setpgid(0, 0); time.sleep(1000)"
    leader = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)\n" + script], start_new_session=True)
    who = processes.identity(leader.pid)
    leader.wait()

    left = processes.session_leftovers(who)
    assert len(left) == 1
    processes.kill(left)
    deadline = time.monotonic() + 10
    while processes.session_leftovers(who):
        assert time.monotonic() < deadline


def test_the_session_of_a_living_leader_is_no_leftover(sleeper):
    assert processes.session_leftovers(processes.identity(sleeper.pid)) == []


def test_a_command_name_with_brackets_is_read_right(tmp_path):
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(odd), "1000"])
    try:
        assert processes.stat(process.pid).parent == os.getpid()
    finally:
        process.kill()
        process.wait()
