import pytest

from app.contract.training import Cosine
from worker.training.optim import Length
from worker.training.optim.cosine import build


def test_the_rate_is_half_way_down_in_the_middle_and_ends_above_the_final_fraction() -> None:
    schedule = build(Cosine(final_fraction=0.2), Length(100, 10))
    assert schedule(0) == pytest.approx(1.0)
    assert schedule(50) == pytest.approx(0.6)
    assert 0.2 < schedule(99) < 0.201
    assert schedule(100) == pytest.approx(0.2)
