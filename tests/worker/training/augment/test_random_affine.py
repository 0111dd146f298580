import numpy as np
import pytest
from pydantic import ValidationError

from app.contract.augment import RandomAffine
from worker.training import geometry
from worker.training.augment.random_affine import build
from worker.training.draws import Draw

SAMPLES = np.arange(4_000)
SIZE = (40, 60)
CENTRE = np.array([29.5, 19.5, 1.0])


def drawn(spec: RandomAffine) -> np.ndarray:
    return build(spec).matrices(Draw(0, 0, 0, SAMPLES), geometry.repeat(SIZE, len(SAMPLES)))


def fills(values: np.ndarray, low: float, high: float) -> bool:
    counts = np.histogram(values, 8, (low, high))[0]
    return bool(counts.sum() == len(values) and np.abs(counts - len(values) / 8).max() < 5 * np.sqrt(len(values) / 8))


def test_shifts_are_shares_of_the_height_and_the_width() -> None:
    found = drawn(RandomAffine(translate=(0.5, 0.1)))
    assert fills(found[:, 1, 2], -20, 20)
    assert fills(found[:, 0, 2], -6, 6)
    np.testing.assert_array_equal(found[:, :2, :2], np.tile(np.eye(2), (len(SAMPLES), 1, 1)))


def test_the_logarithm_of_the_magnification_is_even_and_the_centre_stays() -> None:
    found = drawn(RandomAffine(scale=(0.5, 2.0)))
    assert fills(-np.log2(found[:, 0, 0]), -1, 1)
    np.testing.assert_allclose(found @ CENTRE, np.tile(CENTRE, (len(SAMPLES), 1)))


def test_shearing_keeps_areas_and_the_centre_and_leans_both_ways() -> None:
    found = drawn(RandomAffine(shear=30))
    np.testing.assert_allclose(np.linalg.det(found), 1)
    np.testing.assert_allclose(found @ CENTRE, np.tile(CENTRE, (len(SAMPLES), 1)))
    assert fills(np.rad2deg(np.arctan(found[:, 0, 1])), -30, 30)
    assert fills(np.rad2deg(np.arctan(found[:, 1, 0])), -30, 30)


def test_only_the_given_share_is_changed_at_all() -> None:
    changed = (drawn(RandomAffine(shear=10, probability=0.25)) != np.eye(3)).any(axis=(1, 2))
    assert abs(changed.mean() - 0.25) < 5 * np.sqrt(0.1875 / len(SAMPLES))


@pytest.mark.parametrize("fields", [{}, {"scale": [0, 1]}, {"scale": [2, 1]}, {"translate": [0, 1.5]}, {"shear": 80}])
def test_what_does_nothing_or_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RandomAffine.model_validate(fields)
