"""The compression benchmark runs, and compares what it says it compares. Its figures are not looked at."""

import pytest

from benchmarks.compression import __main__ as compression
from benchmarks.compression import accuracy, counts, int8, speed


def test_the_counts_are_the_published_ones():
    found = counts.measure()
    assert all(each["off"] <= each["allowed"] for each in found.values())
    assert len(list(compression.targets({"counts": found}))) == len(counts.PUBLISHED) == 4


@pytest.mark.timeout(600)
def test_every_way_takes_a_step_in_every_round(monkeypatch):
    monkeypatch.setattr(speed, "SIZE", (32, 32))
    found = speed.measure(rounds=1, batch=2)
    assert set(found["seconds"]) == {f"{kind}: {name}" for kind in ("training", "inference") for name in counts.WAYS}
    assert found["parameters"] == pytest.approx(11_689_512 / 1_961_960, abs=0.01)


def test_gains_are_of_pairs_of_a_seed_with_their_interval():
    found = {name: [0.9, 0.8] for name in (*accuracy.RUNS, "int8 in fp32")} | {"depthwise, distilled": [0.92, 0.8]}
    gains = accuracy.gains(found)
    assert len(gains) == len(accuracy.PAIRS)
    (question,) = [each for each in gains if each.startswith("depthwise, distilled, above dense (95 %: -0.11")]
    assert gains[question] == (0.01, -0.01)
    assert set(accuracy.gains({name: values[:1] for name, values in found.items()})) >= {
        "int8 above its fp32 (one seed)"
    }


def test_the_table_names_what_was_missed():
    found = {
        "int8": {"bytes": 3.0, "times_as_fast": 1.0},
        "speed": {"training": 3.5, "inference": 2.6, "parameters": 6},
    }
    rows = compression.table(found).splitlines()
    assert [row.endswith("| met |") for row in rows[2:]] == [True, True, True, False]
    assert "missed by 0.8" in rows[-1]


def test_the_int8_file_takes_turns_with_its_own_fp32(monkeypatch, tmp_path):
    assert int8.RUNS >= 5
    turns = []
    networks = {"plain": lambda image: turns.append("plain"), "int8": lambda image: turns.append("int8")}
    monkeypatch.setattr(int8, "RUNS", 1)
    assert set(int8._interleaved(networks, None, 2)) == {"plain", "int8"}
    assert turns == ["plain", "int8"] * 3
