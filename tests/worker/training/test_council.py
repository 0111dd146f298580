import math
from collections.abc import Sequence

import pytest
import torch

from worker.training.board import Board
from worker.training.council import Council, Decision, Diverging, Row
from worker.training.distributed.single import SingleRank

HOUR_S = 3600.0


def council(rows: list[Row], interval_s: float = HOUR_S, save_every_s: float = HOUR_S) -> Council:
    def publish(known: Sequence[Row]) -> None:
        rows.extend(known)

    return Council(SingleRank(torch.device("cpu")), Board(1), publish, 1, interval_s, save_every_s)


def row(loss: float) -> torch.Tensor:
    return torch.tensor([loss * 4, 3.0, 4.0], dtype=torch.float64)


def test_every_step_becomes_known_once_in_order_with_its_means() -> None:
    rows: list[Row] = []
    chair = council(rows, interval_s=1e-4)
    for step in range(1, 50):
        chair.after_step(step, row(float(step)))
    chair.settle(49)
    assert [(each.step, each.loss) for each in rows] == [(step, float(step)) for step in range(1, 50)]
    assert {each.accuracy for each in rows} == {0.75}


def test_a_wish_to_stop_is_heard_at_the_next_council() -> None:
    chair = council([])
    chair.board.wish_stop()
    assert [chair.after_step(step, row(1)) for step in (1, 2)] == [Decision(), Decision(stop=True)]


def test_a_save_is_due_after_its_interval_and_not_again_right_after() -> None:
    chair = council([], save_every_s=0.0)
    assert chair.settle(0).save
    chair.save_every_s = HOUR_S
    chair.saved()
    assert not chair.settle(0).save


def test_three_losses_in_a_row_that_are_no_numbers_raise_and_two_do_not() -> None:
    chair = council([])
    for step, loss in enumerate([math.nan, math.inf, 1.0, math.nan, -math.inf], start=1):
        chair.after_step(step, row(loss))
    chair.settle(5)
    assert chair.non_finite == 2
    chair.after_step(6, row(math.nan))
    with pytest.raises(Diverging, match="steps 4 to 6"):
        chair.settle(6)


def test_slow_steps_are_talked_about_after_each() -> None:
    rows: list[Row] = []
    chair = council(rows, interval_s=0.0)
    chair.settle(0)
    for step in (1, 2, 3):
        chair.after_step(step, row(1))
        assert rows[-1].step == step
