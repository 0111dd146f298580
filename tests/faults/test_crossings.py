"""Every fault point, crossed with every trouble, on both databases: the right end, and nothing is left."""

import pytest

from app.contract.faults import Point
from tests.faults.crossings import ALSO, CROSSINGS, MISSED, PAUSE, WARM
from tests.faults.pausing import PAUSING
from tests.faults.places import can_mount
from tests.faults.scenarios import SCENARIOS
from tests.faults.settled import check_settled
from tests.faults.troubles import TROUBLES
from tests.faults.yard import Yard

pytestmark = pytest.mark.timeout(3600)
SAMPLE = [
    (Point.COMMIT_BEFORE_NUDGE, "killed"),
    (Point.CLAIM_BEFORE_ANSWER, "broker_lost"),
    (Point.REPORT_BEFORE_ANSWER, "database_lost"),
    (Point.RECORDED_BEFORE_SPAWN, "killed"),
    (Point.FORKED_BEFORE_TOLD, "killed"),
    (Point.FINISH_BEFORE_COMMIT, "killed"),
]


def cross(yard: Yard, point: Point, trouble: str, way: str | None = None) -> None:
    """Stop a process at the point, do that to it, and see how everything ends. `way`: a scenario of `ALSO`."""
    if trouble == "disk_full" and not can_mount():
        pytest.skip("no disk can be filled: this process may not mount a small file system (root in a container can)")
    scenario = (SCENARIOS | PAUSING)[way or CROSSINGS[point]](yard, full=trouble == "disk_full")
    yard.spoilt = True  # until all is well
    scenario.meet(point)
    TROUBLES[trouble](yard, point, yard.reached(point))
    scenario.end()
    check_settled(yard)
    yard.sweep()
    yard.spoilt = False


@pytest.mark.parametrize(("point", "trouble"), SAMPLE, ids=lambda each: getattr(each, "name", each))
def test_a_sample_of_all_crossings(sqlite_yard: Yard, point: Point, trouble: str) -> None:
    cross(sqlite_yard, point, trouble)


def test_a_pause_that_its_supervisor_does_not_survive(sqlite_yard: Yard) -> None:
    cross(sqlite_yard, Point.STOP_BEFORE_SIGNAL, "killed", PAUSE)


def test_a_missed_gate_whose_end_is_written_when_the_service_dies(sqlite_yard: Yard) -> None:
    cross(sqlite_yard, Point.FINISH_BEFORE_COMMIT, "killed", MISSED)


def test_a_named_warm_run_that_its_supervisor_does_not_survive(sqlite_yard: Yard) -> None:
    cross(sqlite_yard, Point.NAMED_BEFORE_GO, "killed", WARM)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("point", Point, ids=lambda point: point.name)
def test_every_point_is_crossed_with_every_trouble(yard: Yard, point: Point, trouble: str) -> None:
    cross(yard, point, trouble)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize(("point", "way"), ALSO, ids=lambda each: getattr(each, "name", each))
def test_every_other_way_to_a_point_is_crossed_with_every_trouble(
    yard: Yard, point: Point, way: str, trouble: str
) -> None:
    cross(yard, point, trouble, way)
