"""The scaling benchmark runs every contender, and compares what it says it compares. Its figures are not looked at."""

import pytest

from benchmarks import scaling


@pytest.mark.timeout(600)
def test_every_contender_makes_its_steps_in_processes_of_its_own():
    load = scaling.Load("test_resnet", 32, 4, 1)
    made = {name: scaling.measure_one(load, each) for name, each in scaling.CONTENDERS.items()}
    assert {name: each["images"] for name, each in made.items()} == {
        name: 4 * each.processes for name, each in scaling.CONTENDERS.items()
    }
    assert min(each["seconds"] for each in made.values()) > 0


def test_ratios_are_those_of_the_middle_round():
    rates = {name: [100.0, 100.0, 100.0] for name in scaling.CONTENDERS}
    rates |= {scaling.TWO: [90.0, 180.0, 85.0], scaling.APART: [100.0, 100.0, 100.0]}
    rates |= {scaling.BARE: [51.0, 50.5, 200.0], scaling.ONE: [50.0, 50.0, 100.0]}
    rounds = {name: [{"images": rate, "seconds": 1.0, "cpu_s": 2.0} for rate in each] for name, each in rates.items()}
    found = scaling.summary(rounds)
    assert found["times_as_fast"][scaling.APART] == 0.9
    assert found["overhead_of_one"] == 1.02
    assert found["speed"][scaling.TWO] == {
        "images_per_s": 90.0,
        "lowest": 85.0,
        "highest": 180.0,
        "images_per_cpu_s": 45.0,
    }
    rows = [each.row() for each in scaling.targets(found)]
    assert [row.endswith("| met |") for row in rows] == [True, True]
