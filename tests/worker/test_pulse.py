"""The worker's pulse, as a container's health check takes it."""

import os
import subprocess
import sys
import time

from worker import pulse
from worker.settings import WorkerSettings


def checked(home):
    command = [sys.executable, "-m", "worker.pulse"]
    environment = os.environ | {"TRAINYARD_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_worker_that_asks_is_alive_and_one_that_stopped_asking_is_not(tmp_path):
    settings = WorkerSettings(home=tmp_path)
    pulse.beat(settings)
    assert checked(tmp_path).returncode == 0

    long_ago = time.time() - settings.idle_ask_s - pulse.SLACK_S - 5
    os.utime(tmp_path / "run" / "worker.pulse", (long_ago, long_ago))

    done = checked(tmp_path)
    assert done.returncode == 1
    assert "has not asked for work for" in done.stderr


def test_a_home_without_a_worker_is_not_alive(tmp_path):
    assert checked(tmp_path).returncode == 1


def test_an_idle_worker_has_a_pulse(home, door, broker, start_worker, eventually):
    start_worker()
    eventually((home / "run" / "worker.pulse").exists, "the first beat")
    begun = (home / "run" / "worker.pulse").stat().st_mtime_ns
    broker.nudge()
    eventually(lambda: (home / "run" / "worker.pulse").stat().st_mtime_ns > begun, "the next beat")
