"""In which order a checkpoint reaches the disk: a crash between any two steps leaves the old state or the new one."""

import os
from pathlib import Path

import pytest
import torch

from worker.training import checkpoint
from worker.training.checkpoint import Position, Snapshot


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is synced and renamed, as it happens; all of it is really done."""
    seen: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.rename

    def noted_sync(descriptor: int) -> None:
        sync(descriptor)
        seen.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))

    def noted_rename(path: Path, target: Path) -> Path:
        seen.append(("rename", f"{path.name} {target.name}"))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    return seen


def test_files_then_their_folder_then_the_name_then_the_folder_around(
    tmp_path: Path, steps: list[tuple[str, str]]
) -> None:
    snapshot = Snapshot(Position("training", step=7), {}, {"model": {"weight": torch.ones(3)}}, [])
    (tmp_path / "baseline.json").write_text("{}")
    checkpoint.save(snapshot, tmp_path / "checkpoints", [tmp_path / "baseline.json"])
    assert steps == [
        ("sync", "baseline.json"),
        ("sync", "state.pt"),
        ("sync", "progress.json"),
        ("sync", "manifest.json"),
        ("sync", ".training-00000007.partial"),
        ("rename", ".training-00000007.partial training-00000007"),
        ("sync", "checkpoints"),
    ]
