"""Checks a data set's folder, file by file: `python -m worker.training.data_check REQUEST.json OUT.json`.

The request is an ImportTask; if it names an archive, the folder is made of that first. The answer is a DatasetFacts, or
a Failure and exit code 1. Beside it lies `progress.json` (an ImportProgress) while it works. The table of all files
goes to the folder that the task names, also for a set that is refused: there its owner finds which files to repair.

Whoever starts this program bounds its memory and time; the files themselves are read and decoded by processes of its
own, which may die of them.
"""

import sys
import time
from pathlib import Path

from pydantic import BaseModel

from app.contract.datasets import ImportProgress
from app.contract.work import ImportTask
from worker.training import answers, image_table
from worker.training.archives.refusals import Limits
from worker.training.archives.unpack import unpack
from worker.training.image_check import Follower, facts, inspect_layout, judge
from worker.training.image_folder import survey
from worker.training.layouts import Layout

PROGRESS = "progress.json"
TELL_EVERY_S = 0.5


def main(request: Path, out: Path) -> int:
    """Exit code 0 with facts in `out`, or 1 with a failure in it."""

    def found() -> BaseModel:
        task = ImportTask.model_validate_json(request.read_bytes())
        teller = _Teller(out.with_name(PROGRESS))
        if task.archive is not None:
            limits = Limits(task.archive.max_unpacked_bytes, task.archive.min_free_bytes)
            unpack(Path(task.archive.path), Path(task.path), limits, teller.unpacked)
        return _check(task, teller)

    return answers.give(out, found, answers.explainer("The data set's check"))


def _check(task: ImportTask, teller: Follower) -> BaseModel:
    layout = survey(task.path)
    inspected = inspect_layout(layout, teller)
    if task.results is not None:
        image_table.write(Path(task.results), layout, inspected.looks, inspected.findings)
    judge(inspected.manifest, task.bad_image_share)
    return facts(inspected.manifest)


class _Teller(Follower):
    """Writes down how far the import is, twice a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._files = 0
        self._next_s = 0.0

    def unpacked(self, files: int, seen_bytes: int, archive_bytes: int) -> None:
        """So many files were unpacked, up to now, and so much of the archive is behind them."""
        if self._is_due():
            far = {"archive_bytes_seen": seen_bytes, "archive_bytes": archive_bytes}
            answers.write(self._file, ImportProgress(stage="unpacking", files_seen=files, files=0, **far))

    def begin(self, layout: Layout) -> None:
        self._files = len(layout.names)
        self._next_s = 0.0
        self.told(0)

    def told(self, files: int) -> None:
        if self._is_due() or files == self._files:
            answers.write(self._file, ImportProgress(stage="checking", files_seen=files, files=self._files))

    def _is_due(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + TELL_EVERY_S
        return True


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
