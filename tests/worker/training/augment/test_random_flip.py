import numpy as np
import pytest

from app.contract.augment import RandomFlip
from worker.training import geometry
from worker.training.augment.random_flip import build
from worker.training.draws import Draw

SAMPLES = np.arange(5_000)
SIZES = geometry.repeat((4, 6), len(SAMPLES))


@pytest.mark.parametrize(("axis", "mirrored"), [("horizontal", 0), ("vertical", 1)])
def test_the_named_axis_is_mirrored_in_the_given_share_of_images(axis: str, mirrored: int) -> None:
    matrices = build(RandomFlip.model_validate({"axis": axis, "probability": 0.3})).matrices(
        Draw(0, 0, 0, SAMPLES), SIZES
    )
    flipped = matrices[:, mirrored, mirrored] == -1
    assert abs(flipped.mean() - 0.3) < 5 * np.sqrt(0.21 / len(SAMPLES))
    np.testing.assert_array_equal(matrices[:, 1 - mirrored], geometry.identity(len(SAMPLES))[:, 1 - mirrored])
    np.testing.assert_array_equal(matrices[~flipped], geometry.identity(int((~flipped).sum())))
