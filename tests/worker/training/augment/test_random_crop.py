import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.contract.augment import RandomCrop
from worker.training import geometry
from worker.training.augment.random_crop import build
from worker.training.draws import Draw

SAMPLES = np.arange(5_000)


def offsets(spec: RandomCrop, size: tuple[int, int]) -> np.ndarray:
    """(x, y) of the window's first pixel in the image, for each sample."""
    matrices = build(spec).matrices(Draw(0, 0, 0, SAMPLES), geometry.repeat(size, len(SAMPLES)))
    np.testing.assert_array_equal(matrices[:, :2, :2], np.tile(np.eye(2), (len(SAMPLES), 1, 1)))
    return matrices[:, :2, 2]


def test_every_place_is_drawn_equally_often_the_last_one_included() -> None:
    for axis, length in ((0, 9), (1, 7)):
        values, counts = np.unique(offsets(RandomCrop(size=(4, 4)), (7, 9))[:, axis], return_counts=True)
        assert values.tolist() == list(range(length - 4 + 1))
        expected = len(SAMPLES) / len(values)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_padding_adds_places_on_every_side() -> None:
    found = offsets(RandomCrop(size=(8, 8), padding=2), (8, 8))
    assert np.unique(found[:, 0]).tolist() == np.unique(found[:, 1]).tolist() == [-2, -1, 0, 1, 2]
    assert len(np.unique(found, axis=0)) == 25


def test_a_crop_of_the_images_own_size_is_the_image() -> None:
    assert (offsets(RandomCrop(size=(5, 5)), (5, 5)) == 0).all()


def test_a_crop_larger_than_the_image_shows_all_of_it_at_every_place() -> None:
    found = offsets(RandomCrop(size=(8, 10)), (8, 7))
    assert np.unique(found[:, 0]).tolist() == [-3, -2, -1, 0]
    assert (found[:, 1] == 0).all()


def windows(spec: RandomCrop, size: tuple[int, int], count: int = len(SAMPLES)) -> np.ndarray:
    """(h, w) of each sample's window; that it lies inside the image is checked on the way."""
    matrices = build(spec).matrices(Draw(1, 0, 0, SAMPLES[:count]), geometry.repeat(size, count))
    assert not geometry.leaves(matrices, spec.size, geometry.repeat(size, count)).any()
    return matrices[:, [1, 0], [1, 0]] * np.array(spec.size)


def test_areas_and_ratios_are_as_the_spec_says() -> None:
    found = windows(RandomCrop(size=(32, 32), scale=(0.2, 0.4), ratio=(0.5, 2.0)), (300, 400))
    areas, ratios = found.prod(axis=1) / 120_000, found[:, 1] / found[:, 0]
    assert areas.min() >= 0.2 - 1e-9
    assert areas.max() <= 0.4 + 1e-9
    assert abs(areas.mean() - 0.3) < 5 * 0.2 / np.sqrt(12 * len(SAMPLES))
    assert ratios.min() >= 0.5 - 1e-9
    assert ratios.max() <= 2 + 1e-9
    assert abs(np.log(ratios).mean()) < 5 * np.log(4) / np.sqrt(12 * len(SAMPLES))


def test_windows_reach_all_four_edges() -> None:
    spec = RandomCrop(size=(10, 10), scale=(0.25, 0.25), ratio=(1, 1))
    matrices = build(spec).matrices(Draw(2, 0, 0, SAMPLES), geometry.repeat((20, 20), len(SAMPLES)))
    corners = geometry.outline(matrices, (10, 10))
    np.testing.assert_allclose(corners.min(axis=(0, 1)), -0.5, atol=0.05)
    np.testing.assert_allclose(corners.max(axis=(0, 1)), 19.5, atol=0.05)


def test_where_no_window_fits_the_largest_of_an_allowed_ratio_is_taken() -> None:
    found = windows(RandomCrop(size=(8, 8), scale=(1, 1), ratio=(0.75, 4 / 3)), (10, 100), 50)
    np.testing.assert_allclose(found, np.tile([10, 40 / 3], (50, 1)))


def test_all_of_the_area_and_the_images_own_ratio_is_the_whole_image() -> None:
    found = windows(RandomCrop(size=(8, 8), scale=(1, 1), ratio=(2, 2)), (10, 20), 50)
    np.testing.assert_allclose(found, np.tile([10, 20], (50, 1)))


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.01, 1), st.floats(0.1, 1), st.floats(1, 10))
def test_windows_stay_inside_images_of_any_shape(
    height: int, width: int, scale: float, low: float, high: float
) -> None:
    windows(RandomCrop(size=(7, 5), scale=(scale, 1.0), ratio=(low, high)), (height, width), 20)
