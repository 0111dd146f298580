"""Signs of life from work that makes no steps: without them the launcher would take it for a hang."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from worker.training.board import Board

EVERY_S = 10.0
LONGEST_S = 3600.0
"""As long as the first step may take."""


@contextmanager
def of_life(board: Board, ranks: int, every_s: float = EVERY_S, longest_s: float = LONGEST_S) -> Iterator[None]:
    """Inside, a thread gives them for every rank, for `longest_s` at most: what takes longer hangs.

    None before the first step: until then the launcher waits as long by itself, and ends at once what is to stop.
    """
    if not board.slowest():
        yield
        return
    over = Event()
    thread = Thread(target=_give, args=(board, ranks, over, every_s, longest_s), name="signs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _give(board: Board, ranks: int, over: Event, every_s: float, longest_s: float) -> None:
    ends_s = time.monotonic() + longest_s
    while not over.wait(every_s) and time.monotonic() < ends_s:
        for rank in range(ranks):
            board.tick(rank)
