import pytest

from app.contract.training import Step
from worker.training.optim import Length
from worker.training.optim.step import build


def test_the_rate_falls_by_the_factor_every_few_epochs() -> None:
    schedule = build(Step(every_epochs=2, factor=0.1), Length(100, 10))
    assert [schedule(step) for step in (0, 19, 20, 39, 40)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
