import numpy as np
import pytest

from app.contract.augment import Mixup
from worker.training.augment import Mixing
from worker.training.augment.mixup import build
from worker.training.blend import Blend
from worker.training.draws import Draw

SAMPLES = np.arange(20_000)


def drawn(spec: Mixup, epoch: int = 0) -> Blend:
    step = build(spec)
    assert isinstance(step, Mixing)
    return step.blends(Draw(0, epoch, 0, SAMPLES), (20, 30))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_the_share_that_stays_has_the_moments_of_beta_and_is_the_weight_of_the_label(alpha: float) -> None:
    blend = drawn(Mixup(alpha=alpha))
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(blend.keep_N.mean() - 0.5) < 5 * np.sqrt(variance / len(SAMPLES))
    assert abs(blend.keep_N.var() / variance - 1) < 0.05
    assert not blend.boxes_N4.any()
    np.testing.assert_array_equal(blend.weights_N, blend.keep_N)


def test_only_the_given_share_of_the_images_is_blended() -> None:
    mixed = drawn(Mixup(alpha=1, probability=0.3)).weights_N < 1
    assert abs(mixed.mean() - 0.3) < 5 * np.sqrt(0.21 / len(SAMPLES))
    assert (drawn(Mixup(probability=0)).weights_N == 1).all()


def test_neighbours_and_epochs_draw_by_themselves() -> None:
    first, second = (drawn(Mixup(alpha=1), epoch).keep_N for epoch in (0, 1))
    for one, other in ((first, second), (first[:-1], first[1:])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(len(SAMPLES))
