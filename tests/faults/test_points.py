"""The fault points themselves: each is reached at one line, each is crossed by a test, and none costs anything."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from app.contract import faults
from app.contract.faults import Point, reach
from tests.faults.crossings import ALSO, CROSSINGS
from tests.faults.pausing import PAUSING
from tests.faults.scenarios import SCENARIOS
from worker import environment

ROOT = Path(__file__).parents[2]
WAITING = "from app.contract.faults import Point, reach; reach(Point.BEFORE_HEARTBEAT); print('on')"


def reached_in(sources: Iterable[Path]) -> Counter[str]:
    return Counter(name for path in sources for name in re.findall(r"reach\(Point\.(\w+)\)", path.read_text("utf-8")))


def test_each_point_is_reached_at_exactly_one_line() -> None:
    """And at no more than one of the program that trains with TensorFlow, in the place of torch's ranks."""
    apart = set((ROOT / "worker/tensorflow").rglob("*.py"))
    sources = {path for top in ("app", "worker") for path in (ROOT / top).rglob("*.py")}
    assert reached_in(sources - apart) == Counter(Point.__members__.keys())
    assert reached_in(apart) <= Counter(Point.__members__.keys())


def test_each_point_has_its_crossing_and_its_sentence() -> None:
    assert CROSSINGS.keys() == set(Point)
    ways = [*CROSSINGS.items(), *ALSO]
    assert len(ways) == len(set(ways)), "a point is crossed twice in the same way"
    assert {way for _, way in ways} == (SCENARIOS | PAUSING).keys()
    assert len(Point) == len(Point.__members__), "two points have the same sentence"


def test_a_point_does_nothing_where_no_test_asked_for_it() -> None:
    assert faults._folder is None
    point, seen = Point.BEFORE_REPORT, []
    sys.setprofile(lambda frame, event, _: seen.append((frame.f_code.co_name, event)))
    try:
        reach(point)
    finally:
        sys.setprofile(None)
    of_reach = seen[: seen.index(("reach", "return")) + 1]
    assert of_reach == [("reach", "call"), ("reach", "return")], "it calls something"


@pytest.mark.parametrize("found", [environment.for_run("cpu", [0], None), environment.for_task()])
def test_a_run_hears_of_points_only_from_a_test(found: dict[str, str]) -> None:
    assert faults.VARIABLE not in found
    assert environment.allowed({faults.VARIABLE: "x"}) == {faults.VARIABLE: "x"}


def test_the_first_that_comes_by_waits_until_it_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "BEFORE_HEARTBEAT.armed").touch()
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(command, env=os.environ | {faults.VARIABLE: str(tmp_path)}, stdout=subprocess.PIPE) as first:
        reached = tmp_path / "BEFORE_HEARTBEAT.reached"
        while not reached.exists():
            assert first.poll() is None
        assert int(reached.read_text()) == first.pid
        second = subprocess.run(
            command, env=os.environ | {faults.VARIABLE: str(tmp_path)}, capture_output=True, check=True, timeout=60
        )
        assert second.stdout == b"on\n"
        assert first.poll() is None
        reached.unlink()
        assert first.communicate(timeout=60)[0] == b"on\n"
    assert list(tmp_path.iterdir()) == []
