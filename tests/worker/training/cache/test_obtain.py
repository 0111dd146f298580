"""Decoded once: by content, for every job, attempt and process; never a wrong pixel, never without a word."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.contract.failures import FailureCode
from tests.support.image_sets import encoded, image_folder, order, picture, write
from tests.worker.training.cache.places import (
    SETTLE_S,
    Heard,
    blind,
    entries,
    obtained,
    pixels,
    settled_folder,
    wanted,
)
from worker.training import data
from worker.training.cache import obtain as obtain_module
from worker.training.cache.store import discard
from worker.training.data.folder import kept
from worker.training.errors import RunFailure

FOLDER = {"kind": "folder", "path": "set"}
REGISTERED = {"kind": "registered", "id": "ds_1"}


def test_the_second_job_of_a_registered_set_reads_no_file(cache: Path, tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    first = data.load(order(tmp_path / "1", FOLDER, folder), heard := Heard())
    assert heard.codes == ["data_cached"]
    assert "10 images were decoded" in heard.notes[0][2]
    blind(folder)
    told = order(tmp_path / "2", REGISTERED, folder)
    told.paths.dataset_sha256 = first.sha256
    second = data.load(told, heard := Heard())
    assert heard.codes == []
    assert pixels(second) == pixels(first)
    assert second.train.labels_N.tolist() == first.train.labels_N.tolist()
    assert len(entries(cache)) == 1


def test_a_folder_is_recognised_by_its_entries_and_checked_again_when_one_changes(cache: Path, tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    first, _ = obtained(wanted(folder, tmp_path / "1"))
    again, heard = obtained(wanted(folder, tmp_path / "2"))
    assert (again.index.sha256, heard.codes) == (first.index.sha256, [])
    file = folder / "a" / "0.png"
    before = file.stat()
    content = encoded(picture(0), ".png")
    assert len(content) == before.st_size
    file.write_bytes(content[::-1][:-1] + b"x")  # as long as before, no image
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # and as old, as far as it says
    with pytest.raises(RunFailure) as caught:
        obtained(wanted(folder, tmp_path / "3"))
    assert caught.value.failure.code is FailureCode.BAD_DATASET
    assert len(entries(cache)) == 1


def test_files_that_were_just_written_are_not_trusted_to_stay(cache: Path, tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    future_s = time.time() + 60  # a clock that is ahead, or a change in the same tick
    os.utime(folder / "a" / "0.png", (future_s, future_s))
    obtained(wanted(folder, tmp_path / "1"))
    _, heard = obtained(wanted(folder, tmp_path / "2"))
    assert heard.codes == ["data_cached"], "it was checked again"
    assert len(entries(cache)) == 1, "and found to be the same"


def test_an_attempt_is_looked_at_once(cache: Path, tmp_path: Path) -> None:
    folder, run_dir = settled_folder(tmp_path / "set", {"a": 3, "b": 2}), tmp_path / "run"
    first, _ = obtained(wanted(folder, run_dir))
    assert [file.name for file in run_dir.iterdir()] == ["data.index"]
    write(folder / "a" / "new.png", encoded(picture(5), ".png"))
    again, heard = obtained(wanted(folder, run_dir))
    assert (again.index.names, heard.codes) == (first.index.names, [])
    assert again.entry
    assert len(obtained(wanted(folder, tmp_path / "another"))[0].index.names) == 6
    other = settled_folder(tmp_path / "other", {"x": 1, "y": 1})
    assert obtained(wanted(other, run_dir))[0].index.classes == ("x", "y")


def test_two_folders_with_the_same_content_share_an_entry(cache: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        obtained(wanted(settled_folder(tmp_path / name, {"a": 3, "b": 2}), tmp_path / f"run {name}"))
    assert len(entries(cache)) == 1


def test_folders_that_share_an_entry_refuse_their_own_files(cache: Path, tmp_path: Path) -> None:
    bad = {"one": {"a/bad.png": b"bad"}, "other": {"b/empty.jpg": b"", "b/text.jpg": b"text"}, "none": {}}
    for name, files in bad.items():
        folder = image_folder(tmp_path / name, {"a": 60, "b": 60})
        for file, content in files.items():
            write(folder / file, content)
    time.sleep(SETTLE_S)
    pinned = ""
    for turn, code in (("first", "data_cached"), ("again", "")):
        for name, files in bad.items():
            want = replace(wanted(tmp_path / name, tmp_path / f"{name} {turn}"), bad_image_share=0.1)
            found, heard = obtained(want)
            assert heard.codes == [code] * bool(code)
            assert [each.name for each in found.index.refused] == list(files)
            assert found.index.refused_count == len(files)
            pinned = found.index.sha256
    assert len(entries(cache)) == 1
    for name, files in bad.items():
        found, _ = obtained(replace(wanted(tmp_path / name, tmp_path / f"{name} pinned", pinned), bad_image_share=0.1))
        assert [each.name for each in found.index.refused] == list(files)
    moved = (tmp_path / "one").rename(tmp_path / "moved")
    found, heard = obtained(wanted(moved, tmp_path / "moved run", pinned))
    assert (heard.codes, found.index.refused, found.index.refused_count) == ([], [], 0)


def test_channels_and_sizes_have_entries_of_their_own_but_specs_that_read_alike_share(
    cache: Path, tmp_path: Path
) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 3, "b": 2})
    small = {"augment": [{"kind": "resize", "size": [4, 4]}]}
    crop = {"augment": [{"kind": "random_crop", "size": [8, 8], "scale": [0.5, 1]}]}
    told = []
    for number, (channels, spec) in enumerate([(3, {}), (1, {}), (3, small), (3, crop), (1, crop), (3, small)]):
        found, heard = obtained(wanted(folder, tmp_path / str(number), channels=channels, **spec))
        assert found.entry
        told.append(heard.codes)
    assert told == [["data_cached"], ["data_cached"], ["data_cached"], [], [], []]
    assert len(entries(cache)) == 3


def test_pixels_are_the_same_from_the_cache_and_from_files(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 3, "b": 3})
    for number, extension in enumerate((".jpg", ".png", ".bmp", ".webp")):
        write(folder / "b" / f"large{extension}", encoded(picture(number, 97, 130), extension))
    spec = {"augment": [{"kind": "resize", "size": [8, 8]}]}
    kept = data.load(order(tmp_path / "1", FOLDER, folder, **spec))
    again = data.load(order(tmp_path / "2", FOLDER, folder, **spec))
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", "0")
    files = data.load(order(tmp_path / "3", FOLDER, folder, **spec))
    assert pixels(kept) == pixels(again) == pixels(files)
    assert kept.reductions == files.reductions != ""
    np.testing.assert_array_equal(kept.train.sizes_N2, files.train.sizes_N2)
    for index, size in enumerate(kept.train.sizes_N2):
        assert kept.train.read(index).shape == (*size, 3)
    assert kept.train.sizes_N2.max() == 17  # 130 / 8


def test_too_many_bad_files_are_refused_from_the_cache_too(cache: Path, tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 60, "b": 60})
    write(folder / "a" / "bad.png", b"bad")
    time.sleep(0.15)
    assert obtained(wanted(folder, tmp_path / "1"))[0].index.refused_count == 1
    with pytest.raises(RunFailure, match="1 of 121 files cannot be used"):
        obtained(replace(wanted(folder, tmp_path / "2"), bad_image_share=0.0))


def test_the_outline_of_a_known_set_needs_no_file(cache: Path, tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    told = order(tmp_path / "1", REGISTERED, folder)
    told.paths.dataset_sha256 = data.load(order(tmp_path / "0", FOLDER, folder)).sha256
    for file in folder.rglob("*.png"):
        file.unlink()
    assert data.outline(told).train_images == 8


def test_a_bad_quota_is_told_and_costs_nothing_else(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", "much")
    found, heard = obtained(wanted(settled_folder(tmp_path / "set", {"a": 3, "b": 2}), tmp_path / "1"))
    assert (found.entry, heard.codes) == (None, ["cache_unavailable"])
    assert obtain_module.known_index(wanted(tmp_path / "set", tmp_path / "other run")) is None


def test_an_entry_that_another_rank_removes_before_its_pixels_are_open_is_read_from_the_files(
    cache: Path, tmp_path: Path
) -> None:
    found, _ = obtained(wanted(settled_folder(tmp_path / "set", {"a": 5, "b": 5}), tmp_path / "run"))
    assert found.entry
    discard(found.entry.folder)
    assert kept(found, lambda index: np.zeros((1, 1, 3), np.uint8), heard := Heard()) is None
    assert heard.codes == ["cache_damaged"]
