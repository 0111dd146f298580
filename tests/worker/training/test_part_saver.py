"""Checkpoints of which each rank writes a part: whole or not there, and as loud about trouble as any other."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from worker.training import checkpoint, parts
from worker.training.checkpoint import Damaged, Position, Snapshot
from worker.training.events import Reporter
from worker.training.part_saver import PartSaver

WORLD = 3
WEIGHT = torch.arange(10.0).reshape(5, 2)
ROWS = [(0, 2), (2, 4), (4, 5)]


def snapshot(step: int, rank: int) -> Snapshot:
    first, after = ROWS[rank]
    rest: dict[str, Any] = {"model": {"mean": torch.tensor([float(step)])}}
    part = {"model": {"weight": WEIGHT[first:after] + step}}
    return Snapshot(Position("training", step=step), {"spec": "a", "data": "b"}, rest, [{}] * WORLD, None, part)


class Ranks:
    """The savers of all, in one process."""

    def __init__(self, folder: Path) -> None:
        self.told = folder / "told"
        reporter = Reporter(os.open(self.told, os.O_CREAT | os.O_WRONLY))
        self.savers = [PartSaver(folder, reporter, rank, WORLD) for rank in range(WORLD)]

    def save(self, step: int) -> None:
        for rank, saver in enumerate(self.savers):
            saver.save(snapshot(step, rank), is_best=False, carried=[])

    def close(self) -> None:
        for saver in self.savers:
            saver.close()


def saved(folder: Path) -> list[Path]:
    return checkpoint.in_order(folder / "checkpoints")


def test_what_ranks_wrote_is_one_checkpoint_which_is_told_once(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    for step in (1, 2, 3):
        ranks.save(step)
    ranks.close()
    assert [path.name for path in saved(tmp_path)] == ["training-00000002", "training-00000003"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [each.name for each in saved(tmp_path)]
    newest = saved(tmp_path)[-1]
    files = checkpoint.verify(newest)["files"]
    assert sorted(files) == [*(parts.file_name(rank) for rank in range(WORLD)), "progress.json", "state.pt"]
    tensors = parts.whole(checkpoint.load(newest).tensors)
    assert torch.equal(tensors["model"]["weight"], WEIGHT + 3)
    assert tensors["model"]["mean"] == 3
    events = [json.loads(line) for line in ranks.told.read_text().splitlines()]
    assert [(event["type"], event["step"]) for event in events] == [("checkpoint", step) for step in (1, 2, 3)]


def test_a_damaged_part_is_noticed(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    ranks.save(1)
    ranks.close()
    path = saved(tmp_path)[0] / parts.file_name(2)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(Damaged, match="part-00002"):
        checkpoint.verify(path.parent)


def test_there_is_no_checkpoint_before_the_last_part_and_what_is_unfinished_can_be_removed(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    for rank in (1, 2):
        ranks.savers[rank].save(snapshot(1, rank), is_best=False, carried=[])
        ranks.savers[rank].close()
    assert saved(tmp_path) == []
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    checkpoint.remove_unfinished(tmp_path / "checkpoints")
    assert list((tmp_path / "checkpoints").iterdir()) == []
    ranks.savers[0].close()


def test_a_step_that_is_saved_twice_is_two_checkpoints_of_which_no_rank_takes_the_other_ones_part(
    tmp_path: Path,
) -> None:
    """As at the end of an epoch whose last step a checkpoint was due behind; the first rank's disk is the slowest."""
    ranks = Ranks(tmp_path)
    folder = tmp_path / "checkpoints"
    for rank in (1, 2):
        for _ in range(2):
            ranks.savers[rank].save(snapshot(1, rank), is_best=False, carried=[])
        ranks.savers[rank].wait()
    assert len(list(folder.glob(".*.partial"))) == 4
    for _ in range(2):
        ranks.savers[0].save(snapshot(1, 0), is_best=False, carried=[])
    ranks.close()
    assert [path.name for path in saved(tmp_path)] == ["training-00000001"]
    assert [path.name for path in folder.iterdir()] == ["training-00000001"]
    assert len(ranks.told.read_text().splitlines()) == 2


def test_what_a_killed_run_left_is_not_taken_for_a_part(tmp_path: Path) -> None:
    killed = Ranks(tmp_path)
    killed.savers[1].save(snapshot(1, 2), is_best=False, carried=[])
    killed.savers[1].close()
    assert list((tmp_path / "checkpoints").iterdir())
    ranks = Ranks(tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())
    ranks.save(1)
    ranks.close()
    tensors = parts.whole(checkpoint.load(saved(tmp_path)[0]).tensors)
    assert torch.equal(tensors["model"]["weight"], WEIGHT + 1)


def test_a_rank_that_cannot_write_says_so(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/.training-00000001.1.1.partial").write_text("in the way")
    ranks.savers[1].save(snapshot(1, 1), is_best=False, carried=[])
    with pytest.raises(FileExistsError):
        ranks.savers[1].wait()
    for saver in ranks.savers:
        saver.close()
