"""Children of `serve`, as small real processes."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from subprocess import Popen

import pytest

from app.cli.exits import CommandFailed
from app.cli.processes import Child, Command, PidFile, alive, identify
from app.cli.yard import Kept, Yard, end_everything, end_leftover, living_attempts, port_of

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"

MakeChild = Callable[[str, str], Child]


@pytest.fixture
def child(tmp_path: Path) -> Iterator[MakeChild]:
    made = []

    def make(name: str, code: str) -> Child:
        made.append(Child(Command(name, (sys.executable, "-c", code), dict(os.environ)), tmp_path, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def kept(of: Child, told: list[str]) -> Kept:
    return Kept(of, lambda: of.tail() == ["up"] or "up" in of.tail(), told.append)


def test_a_child_that_ends_before_it_is_ready_shows_the_end_of_its_log(child: MakeChild) -> None:
    broken = child("api", "print('no such table', flush=True); raise SystemExit(3)")
    with pytest.raises(CommandFailed, match=r"api ended with code 3.*\n  \| no such table"):
        kept(broken, []).start(lambda: False)


def test_a_child_that_dies_is_started_again_later_each_time(child: MakeChild) -> None:
    told: list[str] = []
    one = kept(child("worker", "print('up', flush=True)"), told)
    one.start(lambda: False)
    while len(told) < 2:
        one.look()
        time.sleep(0.01)
    assert [line.partition(" (log")[0] for line in told] == [
        "worker ended with code 0; starting it again in 1 s",
        "worker ended with code 0; starting it again in 2 s",
    ]


def test_children_stop_in_reverse_and_a_deaf_one_is_killed(child: MakeChild, tmp_path: Path) -> None:
    broker, api, worker = child("broker", SLEEP), child("api", DEAF), child("worker", SLEEP)
    yard = Yard([kept(each, []) for each in (broker, api, worker)], tmp_path, lambda: 0, print)
    yard.start()
    yard.stop(drain_s=10)
    assert [each.ending() for each in (broker, api, worker)] == [
        "was killed by SIGTERM",
        "was killed by SIGKILL",
        "was killed by SIGTERM",
    ]
    assert list(tmp_path.glob("*.pid")) == []


def test_a_second_signal_hurries(child: MakeChild, tmp_path: Path) -> None:
    worker = child("worker", DEAF)
    signals = [0]
    yard = Yard([kept(worker, [])], tmp_path, lambda: signals[0], print)
    yard.start()
    signals[0] = 2
    yard.stop(drain_s=10_000)
    assert worker.ending() == "was killed by SIGKILL"


def test_attempts_that_outlive_their_drain_are_killed_and_named(tmp_path: Path, child: MakeChild) -> None:
    with Popen([sys.executable, "-c", SLEEP]) as supervisor:
        record_attempt(tmp_path, "job_1-1", supervisor.pid)
        told: list[str] = []
        Yard([kept(child("worker", SLEEP), told)], tmp_path, lambda: 0, told.append).stop(drain_s=0)
        assert living_attempts(tmp_path) == {}
        assert told == ["job_1-1 did not stop in time and was killed; it goes on from its last checkpoint"]


def record_attempt(run_dir: Path, name: str, pid: int) -> None:
    who = identify(pid)
    assert who
    (run_dir / "attempts").mkdir()
    (run_dir / "attempts" / f"{name}.json").write_text(json.dumps({"supervisor": asdict(who)}))
    assert living_attempts(run_dir) == {name: who}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"supervisor": null}', '{"supervisor": {"pid": 1}}'])
def test_a_record_without_a_supervisor_is_no_attempt(tmp_path: Path, content: str) -> None:
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "job_1-1.json").write_text(content)
    assert living_attempts(tmp_path) == {}


@pytest.mark.parametrize("name", ["worker", "api", "broker"])
def test_what_an_earlier_serve_left_is_ended(tmp_path: Path, name: str) -> None:
    with Popen([sys.executable, "-c", SLEEP]) as leftover:
        PidFile(tmp_path / f"{name}.pid").write(leftover.pid)
        assert end_leftover(tmp_path, name)
    assert not end_leftover(tmp_path, name)


def test_a_home_that_is_thrown_away_is_emptied_of_processes(tmp_path: Path) -> None:
    with Popen([sys.executable, "-c", SLEEP]) as serve, Popen([sys.executable, "-c", SLEEP]) as supervisor:
        PidFile(tmp_path / "serve.pid").write(serve.pid)
        record_attempt(tmp_path, "job_1-1", supervisor.pid)
        known = [identify(serve.pid), identify(supervisor.pid)]
        end_everything(tmp_path)
        assert not any(who and alive(who) for who in known)


def test_the_port_of_an_earlier_api_is_known_by_its_address(tmp_path: Path) -> None:
    assert port_of(tmp_path) is None
    (tmp_path / "api.json").write_text(json.dumps({"url": "http://127.0.0.1:8123", "pid": 1}))
    assert port_of(tmp_path) == 8123
