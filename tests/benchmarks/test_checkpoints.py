"""The benchmark of checkpoints runs, and what it saves is whole. Its figures are not looked at."""

from pathlib import Path

import torch

from benchmarks import checkpoints
from worker.training import checkpoint


def test_every_way_saves_in_every_round(tmp_path: Path) -> None:
    found = checkpoints.measure(checkpoints.state_of("test_resnet"), tmp_path, rounds=2)
    assert {name: len(times) for name, times in found["seconds"].items()} == dict.fromkeys(found["medians"], 2)
    assert set(found["medians"]) == {"stall", "written", "synchronous", "torch.save"}
    beside, before = (checkpoint.newest_first(tmp_path / name)[0] for name in ("checkpoints", "synchronous"))
    for folder in (beside, before):
        checkpoint.verify(folder)
    one, other = (checkpoint.load(folder).tensors["model"] for folder in (beside, before))
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
