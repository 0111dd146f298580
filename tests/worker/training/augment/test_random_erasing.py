import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.augment import RandomErasing
from worker.training.augment.random_erasing import build
from worker.training.draws import Draw
from worker.training.pixels import Erase

SAMPLES = np.arange(4_000)


def drawn(spec: RandomErasing, size: tuple[int, int]) -> Erase:
    (step,) = build(spec).steps(Draw(0, 0, 0, SAMPLES), size)
    assert isinstance(step, Erase)
    return step


def test_areas_are_as_the_spec_says_in_the_given_share_of_images() -> None:
    boxes = drawn(RandomErasing(scale=(0.1, 0.2), ratio=(0.5, 2.0), probability=0.5), (200, 300)).boxes_N4
    areas = boxes[:, 2:].prod(axis=1) / 60_000
    covered = areas > 0
    assert abs(covered.mean() - 0.5) < 5 * np.sqrt(0.25 / len(SAMPLES))
    assert 0.098 < areas[covered].min() < 0.105
    assert 0.195 < areas[covered].max() < 0.203


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0.01, 1.0))
def test_rectangles_lie_inside_images_of_any_size(height: int, width: int, scale: float) -> None:
    boxes = drawn(RandomErasing(scale=(scale, 1.0), probability=1.0), (height, width)).boxes_N4
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= (height, width)).all()


@pytest.mark.parametrize("fill", ["mean", "noise", "black"])
def test_only_the_rectangle_is_covered(fill: str) -> None:
    step = drawn(RandomErasing.model_validate({"fill": fill, "probability": 1.0}), (32, 32))
    source = np.random.default_rng(0).integers(100, 256, (32, 32, 3), np.uint8)
    made = source.copy()
    step.run(7, made)
    top, left, height, width = step.boxes_N4[7]
    inside = np.zeros((32, 32), bool)
    inside[top : top + height, left : left + width] = True
    np.testing.assert_array_equal(made[~inside], source[~inside])
    if fill == "mean":
        np.testing.assert_allclose(made[inside].mean(axis=0), source.mean(axis=(0, 1)), atol=0.51)
    elif fill == "black":
        assert (made[inside] == 0).all()
    else:
        assert made[inside].std() > 50
