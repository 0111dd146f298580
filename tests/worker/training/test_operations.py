"""The operations that the policies choose from, one by one."""

import numpy as np
import pytest

from worker.training import geometry, operations
from worker.training.draws import Draw
from worker.training.operations import Choice, Operation, Space

SPACE = Space(shear=0.5, shift_pixels=3, shift_share=0, degrees=90, factor=1, bits=4)
SIZES = geometry.repeat((20, 20), 1)
SOURCE = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
MOVING = {
    Operation.SHEAR_X,
    Operation.SHEAR_Y,
    Operation.TRANSLATE_X,
    Operation.TRANSLATE_Y,
    Operation.ROTATE,
}


def choice(operation: Operation, strength: float) -> Choice:
    return Choice(np.array([operation]), np.array([strength]))


def changed(operation: Operation, strength: float) -> np.ndarray:
    image = SOURCE.copy()
    for step in operations.pixel_steps(choice(operation, strength), SPACE):
        step.run(0, image)
    return image


def test_all_operations_are_equally_likely_with_both_signs() -> None:
    drawn = operations.choose(Draw(0, 0, 0, np.arange(14_000)), np.ones(14_000))
    counts = np.bincount(drawn.operations_N, minlength=14)
    assert len(counts) == 14
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)
    assert abs(drawn.strengths_N.mean()) < 5 / np.sqrt(14_000)


@pytest.mark.parametrize("operation", Operation)
def test_each_operation_moves_pixels_or_changes_values_and_leaves_the_rest_alone(operation: Operation) -> None:
    matrix = operations.matrices(choice(operation, 0.7), SPACE, SIZES)[0]
    assert (not np.allclose(matrix, np.eye(3))) == (operation in MOVING)
    is_recoloured = bool((changed(operation, 0.7) != SOURCE).any())
    assert is_recoloured == (operation not in MOVING | {Operation.IDENTITY})


def test_shifts_and_turns_are_of_the_given_size() -> None:
    shifted = operations.matrices(choice(Operation.TRANSLATE_X, 1.0), SPACE, SIZES)[0]
    np.testing.assert_allclose(shifted, geometry.translation(np.array([[-3.0, 0.0]]))[0], atol=1e-12)
    turned = operations.matrices(choice(Operation.ROTATE, 1.0), SPACE, SIZES)[0]
    np.testing.assert_allclose(turned @ [0, 0, 1], [19, 0, 1], atol=1e-9)


def test_posterize_clears_low_bits_whatever_the_sign() -> None:
    for strength in (-1.0, 1.0):
        np.testing.assert_array_equal(changed(Operation.POSTERIZE, strength), SOURCE & 0xF0)


def test_solarize_inverts_from_its_threshold_on() -> None:
    np.testing.assert_array_equal(changed(Operation.SOLARIZE, 0.5), np.where(SOURCE >= 128, 255 - SOURCE, SOURCE))
    np.testing.assert_array_equal(changed(Operation.SOLARIZE, 0.0), SOURCE)
    np.testing.assert_array_equal(changed(Operation.SOLARIZE, 1.0), 255 - SOURCE)


def test_brightness_at_the_ends_is_black_and_twice_as_bright() -> None:
    assert (changed(Operation.BRIGHTNESS, -1.0) == 0).all()
    np.testing.assert_array_equal(changed(Operation.BRIGHTNESS, 1.0), np.minimum(2 * SOURCE.astype(int), 255))
