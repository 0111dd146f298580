import numpy as np

from app.contract.augment import RandAugment
from worker.training import geometry
from worker.training.augment.rand_augment import build
from worker.training.draws import Draw

SAMPLES = np.arange(1_000)


def matrices(**fields: int) -> np.ndarray:
    geometric, _ = build(RandAugment(**fields))
    return geometric.matrices(Draw(0, 0, 0, SAMPLES), geometry.repeat((40, 40), len(SAMPLES)))


def test_without_strength_nothing_moves() -> None:
    np.testing.assert_allclose(matrices(magnitude=0), geometry.identity(len(SAMPLES)), atol=1e-12)


def test_more_operations_move_more_images() -> None:
    one, four = (~np.isclose(matrices(operations=n), np.eye(3)).all(axis=(1, 2)) for n in (1, 4))
    assert abs(one.mean() - 5 / 14) < 5 * np.sqrt(0.25 / len(SAMPLES))
    assert abs(four.mean() - (1 - (9 / 14) ** 4)) < 5 * np.sqrt(0.25 / len(SAMPLES))


def test_full_strength_turns_by_30_degrees_and_shifts_by_less_than_half() -> None:
    found = matrices(operations=1, magnitude=30)
    angles = np.rad2deg(np.arctan2(found[:, 1, 0], found[:, 0, 0]))
    turned = ~np.isclose(found[:, 0, 0], 1)
    assert np.allclose(np.abs(angles[turned]), 30)
    straight = np.isclose(found[:, :2, :2], np.eye(2)).all(axis=(1, 2)) & (found[:, :2, 2] != 0).any(axis=1)
    np.testing.assert_allclose(np.abs(found[straight, :2, 2]).max(axis=1), 40 * 150 / 331)
