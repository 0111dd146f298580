import numpy as np

from app.contract.augment import RandomRotate
from worker.training import geometry
from worker.training.augment.random_rotate import build
from worker.training.draws import Draw

SAMPLES = np.arange(5_000)
SIZES = geometry.repeat((40, 60), len(SAMPLES))


def drawn_degrees(spec: RandomRotate) -> np.ndarray:
    matrices = build(spec).matrices(Draw(0, 0, 0, SAMPLES), SIZES)
    return np.rad2deg(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))


def test_angles_fill_the_interval_evenly_in_both_directions() -> None:
    angles = drawn_degrees(RandomRotate(degrees=30))
    counts = np.histogram(angles, 10, (-30, 30))[0]
    assert counts.sum() == len(SAMPLES)
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500)


def test_only_the_given_share_is_turned_at_all() -> None:
    turned = drawn_degrees(RandomRotate(degrees=30, probability=0.25)) != 0
    assert abs(turned.mean() - 0.25) < 5 * np.sqrt(0.1875 / len(SAMPLES))
