"""Whole runs over a folder: prepared by one process, trained from the cache by two."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app.contract.events import Noted
from tests.training_runs import Run, WarmParent, trained, when
from tests.worker.training.cache.places import entries, settled_folder
from tests.worker.training.cache.test_troubles import flip, slow_set

pytestmark = pytest.mark.timeout(600)
SPEC: dict[str, Any] = {
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [{"kind": "random_crop", "size": [16, 16], "scale": [0.5, 1]}, {"kind": "random_flip"}],
    "distributed": {"kind": "ddp", "processes": 2},
    "training": {"epochs": 2, "batch_size": 16},
}


def spec(folder: Path) -> dict[str, Any]:
    return SPEC | {"dataset": {"kind": "folder", "path": str(folder)}}


def weights_of(warm: WarmParent, folder: Path, run_dir: Path, **environment: str) -> Run:
    """A run up to its weights; measuring them takes longer than all before."""
    run = warm.run(spec(folder), run_dir, meanwhile=trained(run_dir), **environment)
    assert run.exit_code == 75
    return run


def codes(run: Run) -> list[str]:
    told = [event.code for event in run.events if isinstance(event, Noted)]
    return [code for code in told if code != "preparing_data"]  # a slow machine says more


def test_the_same_weights_from_files_from_a_fresh_cache_and_from_a_known_one(
    warm: WarmParent, cache: Path, tmp_path: Path
) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 40, "b": 40})
    where = {"TRAINYARD_CACHE_DIR": str(cache)}
    files = weights_of(warm, folder, tmp_path / "files", TRAINYARD_CACHE_BYTES="0", **where)
    fresh = weights_of(warm, folder, tmp_path / "fresh", TRAINYARD_CACHE_BYTES="", **where)
    known = weights_of(warm, folder, tmp_path / "known", TRAINYARD_CACHE_BYTES="", **where)
    assert [codes(run) for run in (files, fresh, known)] == [[], ["data_cached"], []]
    assert files.weights == fresh.weights == known.weights
    assert len(entries(cache)) == 1
    for run in (files, known):
        shares = run.metric("system/data_wait_share")
        assert list(shares) == list(run.metric("train/loss")) == list(range(1, 9))
        assert all(0 <= share <= 1 for share in shares.values())


def test_damage_that_any_rank_finds_is_told(warm: WarmParent, cache: Path, tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 40, "b": 40})
    where = {"TRAINYARD_CACHE_DIR": str(cache), "TRAINYARD_CACHE_BYTES": ""}
    first = weights_of(warm, folder, tmp_path / "1", **where)
    (entry,) = entries(cache)
    for file in entry.glob("pixels-*.bin"):
        for place in range(100, file.stat().st_size, 576):
            flip(file, place)
    second = weights_of(warm, folder, tmp_path / "2", **where)
    # Each rank reads half. The one that is second to see damage finds the entry gone where it has not opened it yet.
    assert set(codes(second)) == {"cache_damaged"}
    assert first.weights == second.weights
    assert codes(weights_of(warm, folder, tmp_path / "3", **where)) == ["data_cached"]


def test_a_wish_to_stop_is_heard_while_data_is_prepared(warm: WarmParent, cache: Path, tmp_path: Path) -> None:
    folder = slow_set(tmp_path / "set")

    def stop(pid: int) -> None:
        while not list(cache.glob("sets/.*.partial/pixels-*")):
            assert Path(f"/proc/{pid}/exe").exists()
        os.kill(pid, signal.SIGTERM)

    run = warm.run(
        spec(folder), tmp_path / "run", meanwhile=stop, TRAINYARD_CACHE_DIR=str(cache), TRAINYARD_CACHE_BYTES=""
    )
    assert run.exit_code == 75
    assert run.events[-1].type == "stopped"
    assert run.metric("train/loss") == {}


def test_a_set_that_cannot_be_used_and_a_bad_spec_end_the_run_by_name(
    warm: WarmParent, cache: Path, tmp_path: Path
) -> None:
    where = {"TRAINYARD_CACHE_DIR": str(cache), "TRAINYARD_CACHE_BYTES": ""}
    empty = settled_folder(tmp_path / "empty", {"a": 4, "nothing": 0})
    assert warm.run(spec(empty), tmp_path / "1", **where).failure.code == "bad_dataset"
    slow = spec(slow_set(tmp_path / "set")) | {
        "model": {"kind": "timm", "name": "test_vit"},
        "compression": [{"kind": "depthwise_separable"}],
    }
    run = warm.run(slow, tmp_path / "2", **where)
    assert [each.pointer for each in run.failure.errors] == ["/compression/0"]


def test_progress_is_told(warm: WarmParent, cache: Path, tmp_path: Path) -> None:
    folder = slow_set(tmp_path / "set")
    code = "from worker.training.cache import build; build._FIRST_S = 0.05"
    run = warm.run(
        spec(folder),
        tmp_path / "run",
        meanwhile=when(tmp_path / "run", b'"data_cached"', 1, lambda pid: os.kill(pid, signal.SIGTERM)),
        TRAINYARD_CACHE_DIR=str(cache),
        TRAINYARD_CACHE_BYTES="",
        TRAINYARD_TEST_CODE=code,
    )
    told = [event for event in run.events if isinstance(event, Noted) and event.code == "preparing_data"]
    assert told
    assert told[0].message.startswith("Preparing data: ")
    assert told[0].message.endswith(" of 400 files.")
    done = [event.data["done"] for event in told]
    assert done == sorted(done)
    assert all(event.data["total"] == 400 for event in told)
