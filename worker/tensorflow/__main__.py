"""`python -m worker.tensorflow ORDER.json CHECKPOINT BOARD PIPE`: the process that trains, started by the launcher.

CHECKPOINT: the folder to go on from, or empty. BOARD and PIPE are descriptors: the launcher's page of memory, and where
events go. Exit codes are those of worker.training's ranks.
"""

import faulthandler
import sys
from pathlib import Path

from app.contract.work import RunOrder
from worker.tensorflow import program
from worker.training.board import Board
from worker.training.events import Reporter
from worker.training.processes import DUMP_STACKS, STOPPED, STOPPED_UNSAVED


def main(arguments: list[str]) -> int:
    """Train; the result is the process's exit code."""
    order_file, resumed, board, pipe = arguments
    faulthandler.enable()
    faulthandler.register(DUMP_STACKS)

    def body(order: RunOrder, reporter: Reporter) -> int:
        seen = Board(order.processes, int(board))
        return _train(order, seen, reporter, Path(resumed) if resumed else None)

    return program.run(order_file, pipe, body)


def _train(order: RunOrder, board: Board, reporter: Reporter, resumed: Path | None) -> int:
    from worker.tensorflow.run import run
    from worker.training.run_place import StopRun

    try:
        run(order, board, reporter, resumed)
    except StopRun as stop:
        return STOPPED if stop.saved else STOPPED_UNSAVED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
