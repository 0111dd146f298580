"""Runs forked from a warm parent: told, stopped, killed and crashed as any other; and what happens without a parent."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.worker.warm_parents import PROGRAM, address, parent_of
from worker import processes, records
from worker.warm.code import OWN
from worker.warm.parent import MOST_GROWTH_BYTES, Span


@pytest.fixture
def record_of(eventually):
    """The record of a run that has been named and let go."""

    def wait(supervisor):
        supervisor.began()
        found = records.read(supervisor.path)
        assert found.launcher.pid == supervisor.pid("launcher")
        return found

    return wait


def _gone(who):
    return not processes.alive(who)


def test_a_warm_run_is_reported_and_finished_and_nothing_is_left(door, keep, started, record_of):
    parent = keep()
    supervisor = started("until_told")
    record = record_of(supervisor)

    assert processes.stat(record.steward.pid).parent == parent
    assert processes.stat(record.launcher.pid).session == record.steward.pid
    line = Path(f"/proc/{record.launcher.pid}/cmdline").read_text().rstrip("\0").split("\0")
    assert line[1:] == ["-m", "worker.training", str(supervisor.run_dir / "order.json"), str(supervisor.run_dir)]
    (supervisor.run_dir / "go").touch()
    assert supervisor.wait() == 0

    assert [end["outcome"] for end in door.finishes] == ["succeeded"]
    assert _gone(record.steward)
    assert _gone(record.launcher)
    assert processes.stat(parent).alive
    assert not supervisor.path.exists()


def test_several_runs_at_once(door, keep, started, record_of):
    keep()
    supervisors = [started("until_told", attempt=number) for number in (1, 2, 3)]
    found = [record_of(each) for each in supervisors]

    assert len({each.steward.pid for each in found}) == 3
    for each in supervisors:
        (each.run_dir / "go").touch()

    assert [each.wait() for each in supervisors] == [0, 0, 0]
    assert [end["outcome"] for end in door.finishes] == ["succeeded"] * 3


@pytest.mark.parametrize(
    ("mode", "outcome", "code"),
    [("failing", "failed", "diverged"), ("crashing", "failed", "crashed"), ("leaving", "succeeded", None)],
)
def test_its_end_is_told_as_that_of_a_cold_run(door, keep, started, mode, outcome, code):
    keep()
    supervisor = started(mode)
    supervisor.wait()

    (end,) = door.finishes
    assert (end["outcome"], (end["failure"] or {}).get("code")) == (outcome, code)
    assert mode != "crashing" or "SIGSEGV" in end["failure"]["message"]
    assert mode != "leaving" or processes.stat(supervisor.pid("child")) is None


def test_a_stop_lets_it_save(door, keep, started, record_of):
    keep()
    supervisor = started("patient")
    record_of(supervisor)

    door.stop = "cancel"
    supervisor.wait()

    assert [event["type"] for event in door.events[-2:]] == ["checkpoint", "stopped"]
    assert [end["outcome"] for end in door.finishes] == ["released"]


def test_one_that_ignores_sigterm_is_killed_with_what_it_started(door, keep, started, record_of):
    keep()
    supervisor = started("stubborn", work={"grace_s": 0.3})
    record = record_of(supervisor)

    door.stop = "cancel"
    supervisor.wait()

    assert [end["outcome"] for end in door.finishes] == ["released"]
    for name in ("launcher", "child", "escaped"):
        found = processes.stat(supervisor.pid(name))
        assert found is None or not found.alive, name
    assert _gone(record.steward)


def test_a_killed_parent_touches_no_run_and_the_next_one_serves(home, door, keep, started, record_of, eventually):
    parent = keep()
    supervisor = started("until_told")
    record = record_of(supervisor)

    os.kill(parent, signal.SIGKILL)
    eventually(lambda: parent_of(home, eventually) != parent, "another parent serves")

    assert processes.alive(record.launcher)
    assert processes.alive(record.steward)
    (supervisor.run_dir / "go").touch()
    assert supervisor.wait() == 0
    other = started("quick", attempt=2)
    assert other.wait() == 0
    assert [end["outcome"] for end in door.finishes] == ["succeeded"] * 2


def test_a_killed_steward_takes_the_run_with_it(door, keep, started, record_of):
    keep()
    supervisor = started("until_told")
    record = record_of(supervisor)

    os.kill(record.steward.pid, signal.SIGKILL)
    supervisor.wait()

    assert _gone(record.launcher)
    assert [end["failure"]["code"] for end in door.finishes] == ["crashed"]


def test_a_killed_supervisor_takes_the_run_with_it_and_the_next_one_tells(door, keep, started, record_of, eventually):
    keep()
    supervisor = started("stubborn")
    record = record_of(supervisor)

    supervisor.signal(signal.SIGKILL)
    supervisor.wait()
    eventually(lambda: _gone(record.launcher) and _gone(record.steward), "run and steward are gone")
    for name in ("child", "escaped"):
        assert not (found := processes.stat(supervisor.pid(name))) or not found.alive, name
    supervisor.begin()
    assert supervisor.wait() == 0

    assert [end["failure"]["code"] for end in door.finishes] == ["lost_worker"]


def test_what_a_frozen_steward_keeps_alive_is_killed_by_the_next_supervisor(door, keep, started, record_of):
    keep()
    supervisor = started("until_told")
    record = record_of(supervisor)

    os.kill(record.steward.pid, signal.SIGSTOP)
    supervisor.signal(signal.SIGKILL)
    supervisor.wait()
    assert processes.alive(record.launcher)
    supervisor.begin()
    assert supervisor.wait() == 0

    assert _gone(record.launcher)
    assert _gone(record.steward)


def test_a_run_that_was_stopped_from_outside_can_still_be_killed(door, keep, started, record_of):
    keep()
    supervisor = started("until_told", work={"grace_s": 0.3})
    record = record_of(supervisor)

    os.kill(record.launcher.pid, signal.SIGSTOP)
    door.stop = "cancel"
    supervisor.wait()

    assert [end["outcome"] for end in door.finishes] == ["released"]
    assert _gone(record.launcher)


def _starts_cold(supervisor, door, capfd, why):
    assert supervisor.wait() == 0
    said = capfd.readouterr().err
    assert f"the run starts cold: {why}" in said
    assert "started the run cold" in said
    assert [end["outcome"] for end in door.finishes] == ["succeeded"]


def test_without_a_parent_a_run_starts_cold(door, keep, started, capfd):
    keep()

    _starts_cold(started("quick", TRAINYARD_WORKER_ID="nobody"), door, capfd, "there is no warm parent now")


def test_beside_a_frozen_parent_a_run_starts_cold(door, keep, started, capfd):
    parent = keep()
    os.kill(parent, signal.SIGSTOP)
    try:
        _starts_cold(started("quick"), door, capfd, "timed out")
    finally:
        os.kill(parent, signal.SIGCONT)


def test_a_parent_of_older_code_forks_nothing_more(home, door, keep, started, capfd, eventually, monkeypatch, tmp_path):
    packages = tmp_path / "more-packages"
    packages.mkdir()
    before = keep(PYTHONPATH=f"{OWN[0].parent}:{packages}")

    (packages / "library-2.0.dist-info").mkdir()

    try:
        _starts_cold(started("quick"), door, capfd, "the code has changed")
    finally:
        print((home / "logs/warm.log").read_text())
    eventually(lambda: parent_of(home, eventually) != before, "another parent serves")


@pytest.mark.parametrize("settings", [{"TRAINYARD_WARM_START": "false"}, {}])
def test_who_wants_a_cold_start_gets_one(door, keep, started, capfd, settings):
    keep()

    supervisor = started("quick", "warm" if settings else "cold", **settings)

    assert supervisor.wait() == 0
    assert "started the run cold" in (said := capfd.readouterr().err)
    assert "the run starts cold" not in said, "nobody was asked"


def test_a_parent_is_replaced_after_so_many_runs(home, keep, started, eventually, record_of):
    first = keep(TRAINYARD_WARM_ATTEMPTS="1")
    supervisor = started("until_told")
    record = record_of(supervisor)

    eventually(lambda: parent_of(home, eventually) != first, "another parent serves")

    assert processes.alive(record.launcher)
    (supervisor.run_dir / "go").touch()
    assert supervisor.wait() == 0


def test_a_program_that_cannot_be_loaded_costs_warmth_only(home, door, keep, started, capfd, eventually):
    keep("tests.worker.no_such_program", wait=False)
    log = home / "logs" / "warm.log"
    eventually(lambda: log.exists() and b"ModuleNotFoundError" in log.read_bytes(), "the parent fails", timeout_s=120)

    _starts_cold(started("quick"), door, capfd, "there is no warm parent now")


def test_a_program_that_leaves_a_thread_is_not_forked(home, keep, tmp_path, eventually):
    (tmp_path / "threaded.py").write_text(
        "import threading, time\n"
        "def load():\n    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )

    keep("threaded", wait=False, PYTHONPATH=f"{OWN[0].parent}:{tmp_path}")

    log = home / "logs" / "warm.log"
    eventually(lambda: log.exists() and b"loading left 2 threads" in log.read_bytes(), "it is noticed", timeout_s=120)
    assert not address(home).exists()


def test_a_frozen_parent_is_replaced(home, keep, eventually, monkeypatch):
    monkeypatch.setattr("worker.warm.keeper.ASK_S", 0.5)
    monkeypatch.setattr("worker.warm.keeper.ANSWER_S", 0.5)
    before = keep()
    who = processes.identity(before)

    os.kill(before, signal.SIGSTOP)

    eventually(lambda: _gone(who) and parent_of(home, eventually) != before, "another parent serves", timeout_s=120)


def test_what_an_earlier_worker_left_is_replaced(home, keep, tmp_path, eventually):
    address(home).parent.mkdir(parents=True)
    left = os.posix_spawn(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)"], os.environ)
    who = processes.identity(left)
    address(home).with_suffix(".json").write_text(who.model_dump_json())
    address(home).touch()

    keep(wait=False)

    eventually(lambda: _gone(who), "the old one is killed")
    eventually(lambda: address(home).is_socket(), "another parent serves", timeout_s=120)


def test_a_worker_takes_its_parent_with_it(home, start_worker, eventually):
    for number in (signal.SIGKILL, signal.SIGTERM):
        worker = start_worker(TRAINYARD_WARM_PROGRAM=PROGRAM)
        parent = processes.identity(parent_of(home, eventually))
        worker.send_signal(number)
        worker.wait(60)
        eventually(lambda parent=parent: _gone(parent), "its parent is gone")
        address(home).with_suffix(".json").unlink(missing_ok=True)
        address(home).unlink(missing_ok=True)


def test_a_parent_that_cannot_be_noted_down_is_not_left_running(home, keep, caplog, eventually):
    """As on a full disk: one that nobody knows of would hold its memory for as long as the worker lives."""
    note = address(home).with_suffix(".json")
    note.mkdir(parents=True)
    keep(wait=False)

    eventually(lambda: "no warm parent" in caplog.text, "it is given up")

    children = [each.pid for each in processes.every_process() if each.alive and each.parent == os.getpid()]
    assert not [pid for pid in children if b"worker.warm.parent" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    note.rmdir()
    parent_of(home, eventually)


def test_a_parent_that_has_served_long_or_has_grown_makes_room_for_another():
    assert Span(attempts=1, hours=1).over() is None
    assert Span(attempts=0, hours=1).over() == "it has served its number of attempts"
    assert Span(attempts=1, hours=0).over() == "it is old"
    young = Span(attempts=1, hours=1)
    held = bytearray(b"1") * (MOST_GROWTH_BYTES + (32 << 20))
    assert young.over() == "it has grown"
    del held
    assert young.over() is None
