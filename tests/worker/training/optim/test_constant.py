from app.contract.training import Constant
from worker.training.optim import Length
from worker.training.optim.constant import build


def test_the_rate_stays_at_the_peak() -> None:
    schedule = build(Constant(), Length(100, 10))
    assert {schedule(step) for step in range(100)} == {1.0}
