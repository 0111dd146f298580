"""Each step on the values of final images against its definition."""

import numpy as np
import pytest

from worker.training.pixels import Blur, Equalize, Sharpen, Stretch, Table, noise

GENERATOR = np.random.default_rng(0)
SOURCE = GENERATOR.integers(50, 150, (16, 20, 3), np.uint8)
ONE = np.array([True])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_table_replaces_each_value(channels: int) -> None:
    image = SOURCE[..., :channels].copy()
    Table(np.arange(255, -1, -1, np.int64).astype(np.uint8)[None]).run(0, image)
    np.testing.assert_array_equal(image, 255 - SOURCE[..., :channels])


@pytest.mark.parametrize("channels", [1, 3])
def test_stretching_reaches_both_ends_in_each_channel_and_keeps_an_even_one(channels: int) -> None:
    image = SOURCE[..., :channels].copy()
    image[..., 0] = 99
    Stretch(ONE).run(0, image)
    assert (image[..., 0] == 99).all()
    for channel in range(1, channels):
        values = image[..., channel]
        assert (values.min(), values.max()) == (0, 255)
        order = np.argsort(SOURCE[..., channel].ravel(), kind="stable")
        assert (np.diff(values.ravel()[order].astype(int)) >= 0).all()


def test_equalizing_makes_the_cumulative_histogram_a_line() -> None:
    image = (GENERATOR.beta(2, 5, (64, 64, 3)) * 255).astype(np.uint8)
    Equalize(ONE).run(0, image)
    for channel in range(3):
        values = np.sort(image[..., channel].ravel()) / 255
        assert np.abs(values - np.linspace(0, 1, values.size)).max() < 0.03


def test_a_factor_of_0_smooths_as_the_imaging_library_does_and_2_is_as_far_on_the_other_side() -> None:
    smooth, sharp = SOURCE.copy(), SOURCE.copy()
    Sharpen(np.array([0.0])).run(0, smooth)
    Sharpen(np.array([2.0])).run(0, sharp)
    around = SOURCE[4:7, 4:7, 0].astype(float)
    assert smooth[5, 5, 0] == round((around.sum() + 4 * around[1, 1]) / 13)
    inner = (slice(1, -1), slice(1, -1))
    assert np.abs(2.0 * SOURCE[inner] - smooth[inner] - sharp[inner]).max() <= 1


def test_a_point_blurs_into_a_gaussian() -> None:
    image = np.zeros((31, 31, 1), np.uint8)
    image[15, 15] = 255
    Blur(np.array([1.5])).run(0, image)
    x = np.arange(31) - 15
    gaussian = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.5**2))
    assert np.abs(image[..., 0] - 255 * gaussian / gaussian.sum()).max() <= 1


@pytest.mark.parametrize("step", [Stretch(~ONE), Equalize(~ONE), Sharpen(np.ones(1)), Blur(np.zeros(1))])
def test_an_image_that_is_not_chosen_keeps_every_bit(step: Stretch | Equalize | Sharpen | Blur) -> None:
    image = SOURCE.copy()
    step.run(0, image)
    np.testing.assert_array_equal(image, SOURCE)


def test_noise_is_even_and_depends_on_the_seed() -> None:
    counts = np.bincount(noise(0.3, 256_000), minlength=256)
    assert np.abs(counts - 1000).max() < 5.5 * np.sqrt(1000)
    assert (noise(0.3, 100) == noise(0.3, 100)).all()
    assert (noise(0.3, 100) != noise(0.31, 100)).any()
    assert len(noise(0.999999, 3_000_000)) == 3_000_000
