import numpy as np
import pytest
from pydantic import ValidationError

from app.contract.augment import GaussianBlur
from worker.training.augment.gaussian_blur import build
from worker.training.draws import Draw
from worker.training.pixels import Blur

SAMPLES = np.arange(4_000)


def test_deviations_fill_the_interval_in_the_given_share_of_images() -> None:
    (step,) = build(GaussianBlur(sigma=(0.5, 1.5), probability=0.5)).steps(Draw(0, 0, 0, SAMPLES), (8, 8))
    assert isinstance(step, Blur)
    blurred = step.sigmas_N[step.sigmas_N > 0]
    assert abs(len(blurred) / len(SAMPLES) - 0.5) < 5 * np.sqrt(0.25 / len(SAMPLES))
    counts = np.histogram(blurred, 4, (0.5, 1.5))[0]
    assert counts.sum() == len(blurred)
    assert np.abs(counts - len(blurred) / 4).max() < 5 * np.sqrt(len(blurred) / 4)


@pytest.mark.parametrize("sigma", [[0, 1], [2, 1], [1, 21]])
def test_impossible_deviations_are_refused(sigma: list[float]) -> None:
    with pytest.raises(ValidationError):
        GaussianBlur.model_validate({"sigma": sigma})
