import numpy as np
import pytest

from app.contract.augment import CenterCrop
from worker.training import geometry
from worker.training.augment.center_crop import build
from worker.training.draws import Draw


@pytest.mark.parametrize(
    ("size", "corner"), [((10, 11), (2, 3)), ((4, 6), (0, 0)), ((5, 7), (0, 0)), ((2, 3), (-2, -1))]
)
def test_the_window_lies_in_the_middle_at_whole_pixels(size: tuple[int, int], corner: tuple[int, int]) -> None:
    step = build(CenterCrop(size=(4, 6)))
    matrix = step.matrices(Draw(0, 0, 0, np.arange(1)), geometry.repeat(size, 1))
    np.testing.assert_array_equal(matrix, geometry.translation(np.array([corner], np.float64)))
    assert step.size_out == (4, 6)
