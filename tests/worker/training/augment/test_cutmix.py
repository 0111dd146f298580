import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.augment import CutMix
from worker.training.augment import Mixing
from worker.training.augment.cutmix import build
from worker.training.blend import Blend
from worker.training.draws import Draw

SAMPLES = np.arange(20_000)


def drawn(spec: CutMix, size: tuple[int, int]) -> Blend:
    step = build(spec)
    assert isinstance(step, Mixing)
    return step.blends(Draw(0, 0, 0, SAMPLES), size)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.01, 100))
def test_boxes_lie_inside_images_of_any_size_and_weights_are_the_pixels_that_are_left(
    height: int, width: int, alpha: float
) -> None:
    blend = drawn(CutMix(alpha=alpha), (height, width))
    corners, boxes = blend.boxes_N4[:, :2], blend.boxes_N4[:, 2:]
    assert (corners >= 0).all()
    assert (boxes >= 0).all()
    assert (corners + boxes <= (height, width)).all()
    np.testing.assert_allclose(blend.weights_N, 1 - boxes[:, 0] * boxes[:, 1] / (height * width), rtol=0, atol=1e-15)
    assert (blend.keep_N == 1).all()


@pytest.mark.parametrize("alpha", [0.3, 1.0, 5.0])
def test_a_box_that_the_edges_leave_whole_has_the_drawn_area_and_the_shape_of_the_image(alpha: float) -> None:
    height, width = 400, 1200
    blend = drawn(CutMix(alpha=alpha), (height, width))
    ends = blend.boxes_N4[:, :2] + blend.boxes_N4[:, 2:]
    whole = (blend.boxes_N4[:, :2] > 0).all(axis=1) & (ends < (height, width)).all(axis=1)
    whole &= blend.boxes_N4[:, 2:].all(axis=1)
    shares = blend.boxes_N4[whole, 2:] / (height, width)
    np.testing.assert_allclose(shares[:, 0], shares[:, 1], atol=2 / height + 2 / width)
    cut = 1 - Draw(0, 0, 0, SAMPLES).symmetric_beta(alpha)[whole]
    np.testing.assert_allclose(shares.prod(axis=1), cut, atol=2 / height + 2 / width)


def test_centres_are_spread_over_all_pixels() -> None:
    """Small boxes are nearly their centres: alpha makes the share that stays nearly 1 for half of the images."""
    blend = drawn(CutMix(alpha=0.05), (200, 200))
    small = (blend.boxes_N4[:, 2:] > 0).all(axis=1) & (blend.boxes_N4[:, 2:] <= 10).all(axis=1)
    assert small.sum() > 500
    centres = blend.boxes_N4[small, :2] + blend.boxes_N4[small, 2:] / 2
    for axis in (0, 1):
        counts = np.histogram(centres[:, axis], bins=5, range=(0, 200))[0]
        expected = small.sum() / 5
        assert ((counts - expected) ** 2 / expected).sum() < 4 + 6 * np.sqrt(8)


def test_only_the_given_share_of_the_images_gets_a_box() -> None:
    always, sometimes = (drawn(CutMix(probability=p), (224, 224)).weights_N < 1 for p in (1.0, 0.3))
    assert always.mean() > 0.99
    assert abs(sometimes.mean() / always.mean() - 0.3) < 5 * np.sqrt(0.21 / len(SAMPLES))
    np.testing.assert_array_equal(sometimes & ~always, False)
