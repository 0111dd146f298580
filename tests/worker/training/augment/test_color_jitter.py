import numpy as np
import pytest
from pydantic import ValidationError

from app.contract.augment import ColorJitter
from worker.training.augment.color_jitter import build
from worker.training.colour import ColourMap
from worker.training.draws import Draw

SAMPLES = np.arange(4_000)


def drawn(spec: ColorJitter) -> ColourMap:
    (step,) = build(spec).steps(Draw(0, 0, 0, SAMPLES), (8, 8))
    assert isinstance(step, ColourMap)
    return step


def test_brightness_factors_fill_the_interval() -> None:
    factors = drawn(ColorJitter(brightness=0.4)).own_N33[:, 0, 0]
    counts = np.histogram(factors, 8, (0.6, 1.4))[0]
    assert counts.sum() == len(SAMPLES)
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500)


@pytest.mark.parametrize("part", ["brightness", "contrast", "saturation", "hue"])
def test_each_part_varies_by_itself_and_only_in_the_given_share(part: str) -> None:
    found = drawn(ColorJitter.model_validate({part: 0.5, "probability": 0.25}))
    changed = ~np.isclose(found.own_N33, np.eye(3)).all(axis=(1, 2))
    assert abs(changed.mean() - 0.25) < 5 * np.sqrt(0.1875 / len(SAMPLES))
    assert (found.mean_N33 != 0).any() == (part == "contrast")


@pytest.mark.parametrize("fields", [{}, {"brightness": 1.5}, {"hue": 0.6}, {"contrast": -0.1}])
def test_what_does_nothing_or_cannot_be_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ColorJitter.model_validate(fields)
