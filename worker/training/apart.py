"""A run that another library trains: planned and trained by a program of its own, in a process that never loads torch.

Everything else is as in any run: the launcher owns the processes, writes the events, and measures at the end.
"""

import time
from collections.abc import Callable

from worker.training.launcher import Launch, program
from worker.training.measuring import ORDER, PIPE
from worker.training.site import Start
from worker.training.watchdog import Watchdog

TRAINER = "worker.tensorflow"


class ApartLaunch(Launch):
    """One process trains, on all devices; the board has a word for each all the same, and that of the first counts."""

    def _train(self, start: Start) -> None:
        order, board = str(self.run_dir / ORDER), self.board.descriptor
        self._prepare(None)
        resumed = str(start.checkpoint or "")
        command = ["-m", TRAINER, order, resumed, str(board), PIPE]
        trainer = self._fork("rank0", program(command, board))
        self._watch([trainer], Watchdog(time.monotonic()))

    def _body(self, command: list[str]) -> Callable[[int], int]:
        """Never a fork of this process: it has loaded torch."""
        return program(command)
