"""Colour maps against the same changes one after another, in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.training import colour
from worker.training.colour import ColourMap

LUMA = np.array([0.299, 0.587, 0.114])
SOURCE = np.random.default_rng(0).integers(60, 200, (9, 11, 3), np.uint8)


def one(value: float) -> np.ndarray:
    return np.array([value])


def exact(made: ColourMap, pixels: np.ndarray) -> np.ndarray:
    return pixels @ made.own_N33[0].T + made.mean_N33[0] @ pixels.mean(axis=(0, 1))


def contrast(pixels: np.ndarray, factor: float) -> np.ndarray:
    return factor * pixels + (1 - factor) * (pixels.mean(axis=(0, 1)) @ LUMA)


def saturation(pixels: np.ndarray, factor: float) -> np.ndarray:
    return factor * pixels + (1 - factor) * (pixels @ LUMA)[..., None]


STRENGTHS = st.floats(0.0, 2.0)


@given(STRENGTHS, STRENGTHS, STRENGTHS, STRENGTHS)
def test_a_chain_is_its_changes_one_after_another(first: float, second: float, third: float, fourth: float) -> None:
    pixels = SOURCE.astype(np.float64)
    made = colour.chain(
        colour.contrast(one(first)),
        colour.brightness(one(second)),
        colour.saturation(one(third)),
        colour.contrast(one(fourth)),
    )
    expected = contrast(saturation(second * contrast(pixels, first), third), fourth)
    np.testing.assert_allclose(exact(made, pixels), expected, atol=1e-9)


@given(st.floats(-0.5, 0.5))
def test_a_turned_hue_keeps_grey_and_luma_and_turns_back(turns: float) -> None:
    pixels = SOURCE.astype(np.float64)
    turned = exact(colour.hue(one(turns)), pixels)
    np.testing.assert_allclose(turned @ LUMA, pixels @ LUMA, atol=1e-9)
    np.testing.assert_allclose(exact(colour.hue(one(-turns)), turned), pixels, atol=1e-9)
    grey = np.full((2, 2, 3), 77.0)
    np.testing.assert_allclose(exact(colour.hue(one(turns)), grey), grey, atol=1e-9)


def test_half_a_turn_makes_red_cyan() -> None:
    red = np.array([[[200.0, 0, 0]]])
    made = exact(colour.hue(one(0.5)), red)[0, 0]
    assert made[0] < made[1]
    assert made[0] < made[2]


@pytest.mark.parametrize("seed", range(5))
def test_the_executor_is_within_one_level_of_the_exact_map(seed: int) -> None:
    factors = np.random.default_rng(seed).uniform(0.5, 1.5, (3, 1))
    made = colour.chain(
        colour.brightness(factors[0]), colour.contrast(factors[1]), colour.saturation(factors[2]), colour.hue(one(0.1))
    )
    image = SOURCE.copy()
    made.run(0, image)
    expected = np.clip(exact(made, SOURCE.astype(np.float64)), 0, 255)
    assert np.abs(image - expected).max() <= 1


def test_values_are_cut_off_not_wrapped() -> None:
    image = SOURCE.copy()
    colour.brightness(one(2.0)).run(0, image)
    assert (image[SOURCE > 127] == 255).all()


def test_what_is_unchanged_keeps_every_bit() -> None:
    image = SOURCE.copy()
    colour.chain(colour.unchanged(1), colour.hue(one(0.0)), colour.contrast(one(1.0))).run(0, image)
    np.testing.assert_array_equal(image, SOURCE)
