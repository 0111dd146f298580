"""Signs of life from work that makes no steps."""

import time

from worker.training import signs
from worker.training.board import Board


def given(board: Board, longest_s: float) -> int:
    """How many there are at last, after two or more were waited for."""
    deadline = time.monotonic() + 60
    with signs.of_life(board, ranks=2, every_s=0.01, longest_s=longest_s):
        while board.slowest() < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    return board.slowest()


def test_they_are_given_for_every_rank_while_the_work_lasts() -> None:
    board = Board(2)
    for rank in range(2):
        board.tick(rank)
    found = given(board, longest_s=3600)
    assert found >= 3
    time.sleep(0.1)
    assert board.slowest() == found


def test_there_are_none_before_the_first_step_or_of_what_takes_too_long() -> None:
    fresh = Board(2)
    with signs.of_life(fresh, ranks=2, every_s=0.01):
        time.sleep(0.2)
    assert fresh.slowest() == 0
    board = Board(1)
    board.tick(0)
    with signs.of_life(board, ranks=1, every_s=0.01, longest_s=0):
        time.sleep(0.2)
    assert board.slowest() == 1
