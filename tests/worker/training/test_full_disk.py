"""A disk that fills up under a run: a small file system of its own, really full."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.contract.events import Noted
from app.contract.failures import FailureCode
from tests.support.small_disk import small_disk
from tests.training_runs import WarmParent, when
from worker.training import causes, checkpoint, export
from worker.training.checkpoint import Position, Snapshot
from worker.training.events import EventLog

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [{"kind": "resize", "size": [16, 16]}],
    "distributed": {"kind": "ddp", "processes": 2},
    "training": {"epochs": 200, "batch_size": 64},
}
OFTEN = {"TRAINYARD_COUNCIL_S": "0.05", "TRAINYARD_CHECKPOINT_S": "0"}
DISK_BYTES = 32 << 20
BLOCK_BYTES = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


def fill(disk: Path, left_bytes: int = 0) -> None:
    """Take all room but so much."""
    free_bytes = shutil.disk_usage(disk).free - left_bytes
    with (disk / "filler").open("ab") as file:
        for size_bytes in [1 << 20] * (free_bytes >> 20) + [BLOCK_BYTES] * (
            (free_bytes & (1 << 20) - 1) // BLOCK_BYTES
        ):
            try:
                os.write(file.fileno(), bytes(size_bytes))
            except OSError:  # somebody else took it meanwhile
                return


def code_of(action: Callable[[], object]) -> FailureCode:
    with pytest.raises(Exception) as refusal:  # noqa: PT011  (libraries have errors of their own for it)
        action()
    return causes.explain(refusal.value).code


def test_each_way_of_writing_tells_that_the_disk_is_full(disk: Path) -> None:
    tensors = {"model": {"weight": torch.zeros(100_000)}}
    snapshot = Snapshot(Position("training", step=1), {}, tensors, [{}])
    good = checkpoint.save(snapshot, disk)["name"]
    fill(disk, 100_000)
    snapshot.position.step = 2
    assert code_of(lambda: checkpoint.save(snapshot, disk)) == FailureCode.DISK_FULL
    fill(disk)
    assert code_of(lambda: export.write(disk / "model.safetensors", bytes(500_000), "a/b")) == FailureCode.DISK_FULL
    checkpoint.remove_unfinished(disk)
    assert checkpoint.newest_good(checkpoint.newest_first(disk)) == (disk / good, [])
    assert not (disk / "model.safetensors").exists()


def test_an_event_is_written_whole_or_not_at_all(disk: Path) -> None:
    log = EventLog(disk / "events.jsonl")
    fill(disk, BLOCK_BYTES)
    text = b'{"type":"note","text":"%s"}\n' % (b"x" * 1000)
    while shutil.disk_usage(disk).free:
        log.append(text)
    with pytest.raises(OSError, match="No space left"):
        log.append(text * 4)
    lines = (disk / "events.jsonl").read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert all(line.endswith(b"\n") for line in lines)


def test_a_checkpoint_without_room_ends_the_run_and_the_next_one_goes_on_from_the_last(
    warm: WarmParent, disk: Path
) -> None:
    run_dir = disk / "run"
    full = when(run_dir, b'"checkpoint"', 2, lambda _pid: fill(disk, 64 << 10))
    run = warm.run(SPEC, run_dir, meanwhile=full, **OFTEN)
    assert run.exit_code == 74
    assert run.failure.code == "disk_full"
    assert "No space left" in run.failure.message
    assert list((run_dir / "checkpoints").glob(".*")) == []
    last = run.newest_checkpoint
    checkpoint.verify(last)

    (disk / "filler").unlink()
    again = warm.run(
        SPEC, run_dir, meanwhile=when(run_dir, b'"resumed"', 1, lambda pid: os.kill(pid, signal.SIGTERM)), **OFTEN
    )
    assert again.exit_code == 75
    notes = [event for event in again.events if isinstance(event, Noted)]
    assert [last.name in note.message for note in notes if note.code == "resumed"] == [True]


def test_a_disk_without_any_room_ends_the_run_though_nothing_can_be_written(warm: WarmParent, disk: Path) -> None:
    run_dir = disk / "run"

    def ruin(pid: int) -> None:
        while Path(f"/proc/{pid}/exe").exists():  # also what an unfinished checkpoint gives back
            fill(disk)

    run = warm.run(SPEC, run_dir, meanwhile=when(run_dir, b'"metrics"', 5, ruin), **OFTEN)
    assert run.exit_code == 74
    lines = (run_dir / "events.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))


FORK = """
import sys
from pathlib import Path
from worker.training.processes import fork

def body(_pipe):
    print("x" * 10_000)
    raise KeyError("weight")

child = fork("rank0", Path(sys.argv[1]), body)
child.reap()
Path(sys.argv[2]).open("a").write(f"{child.exit_code}\\n")
"""


def test_a_full_disk_under_the_log_costs_only_lines(disk: Path, tmp_path: Path) -> None:
    """A process of the run whose output has no room ends with its own exit code, and never as a second launcher."""
    fill(disk)
    command = [sys.executable, "-c", FORK, str(disk / "rank0.log"), str(tmp_path / "codes")]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    assert (tmp_path / "codes").read_text() == "1\n"
