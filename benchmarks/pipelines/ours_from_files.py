"""Our pipeline on a folder of JPEG files, as a job reads it.

python -m benchmarks.pipelines.ours_from_files FOLDER first|later

`first`: each round is a job's first: its files are checked, decoded and kept in a cache of its own, then an epoch is
made of them. `later`: each round is an epoch of the same job.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from app.contract.work import Paths, RunOrder
from benchmarks.pipelines import WORKERS
from benchmarks.pipelines.child import Batches, serve
from benchmarks.pipelines.ours import batches, spec, torch
from worker.training import data
from worker.training.data import LoadedData


def load(folder: str, place: Path) -> tuple[LoadedData, RunOrder]:
    """What a training process does before it can make a batch; `place`: where nothing is yet."""
    os.environ["TRAINYARD_CACHE_DIR"] = str(place / "cache")
    run_dir = place / "run"
    run_dir.mkdir()
    job = spec({"kind": "folder", "path": folder, "validation_fraction": 0.01}).resolved()
    order = RunOrder(spec=job, paths=Paths(run_dir=str(run_dir), dataset=folder))
    return data.load(order), order


def first_epochs(folder: str, place: Path) -> Batches:
    """Rounds that begin with nothing but the files, if `place` is emptied between them."""

    def make(count: int) -> Iterable[torch.Tensor]:
        place.mkdir()
        loaded, order = load(folder, place)
        yield from batches(loaded.train, order.spec)(count)

    return make


def main() -> None:
    """Answer for one folder."""
    torch.set_num_threads(WORKERS)
    folder, which = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as room:
        if which == "first":
            place = Path(room, "round")
            serve(first_epochs(folder, place), lambda: shutil.rmtree(place))
        else:
            loaded, order = load(folder, Path(room))
            serve(batches(loaded.train, order.spec))


if __name__ == "__main__":
    main()
