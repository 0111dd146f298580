"""The augmentation and data benchmarks run, and compare what they say they compare. Their figures are not looked at."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import augment, data, record
from benchmarks.pipelines import exactness, photographs, tables

PEERS = Path(".venv-peers/bin/python")
SETTINGS = {"rounds": 1, "seconds": 0.05, "draws": 2, "starts": 1, "watch": 0.0}


def given(images: int, peers: Path, **more: object) -> argparse.Namespace:
    return argparse.Namespace(images=images, peers=peers, **(SETTINGS | more))


def test_photographs_are_many_different_ones_and_the_same_each_time() -> None:
    made = photographs.windows(6)
    assert made.shape == (6, 375, 500, 3)
    assert len({image.tobytes() for image in made}) == 6
    np.testing.assert_array_equal(made, photographs.windows(6))


def test_the_scene_is_supersampled() -> None:
    scene = exactness.Scene()
    whole = scene.seen(np.eye(3), 6, 8)
    parts = scene.seen(np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]]), 12, 16)
    np.testing.assert_allclose(parts.reshape(6, 2, 8, 2).mean(axis=(1, 3)), whole, atol=0.2)


def test_one_resample_is_nearer_to_the_exact_image_than_the_steps() -> None:
    found = exactness.measure(3)
    assert found["gain_db"] > 6


@pytest.mark.timeout(1200)
def test_augment_measures_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    found = augment.measure(given(8, PEERS), tmp_path)
    assert set(found["speed"]) == {augment.OURS} | (set(augment.PEERS) if PEERS.exists() else set())
    assert set(found["times_as_fast"]) == set(found["speed"]) - {augment.OURS}
    path = record.write("augment", {"settings": SETTINGS} | found)
    text = tables.markdown(path, "Augmentation", "make bench ARGS=augment", augment.targets(found))
    assert "| PSNR to the exact image, above step by step |" in text
    assert json.loads(path.read_text())["commit"]


@pytest.mark.slow  # it starts the training program from nothing, again and again
@pytest.mark.timeout(1200)
def test_data_measures_first_and_later_epochs_and_starts(tmp_path: Path) -> None:
    found = data.measure(given(8, Path("none"), small=40), tmp_path)
    assert set(found["speed"]) == {data.FIRST, data.LATER}
    questions = [target.question for target in data.targets(found)]
    assert "40 small images, kept: POST of a job to its first step" in questions
    assert all(value > 0 for value in found["start"].values())


def test_a_missed_target_says_by_how_much() -> None:
    assert "**missed by 0.5**" in tables.Target("speed", 3.0, 3.5, "times").row()
    assert "| met |" in tables.Target("speed", 3.5, 3.5, "times").row()
    assert "| met |" in tables.Target("start", 2.0, 3.0, "s", least=False).row()
    assert "**missed by 1**" in tables.Target("start", 4.0, 3.0, "s", least=False).row()
