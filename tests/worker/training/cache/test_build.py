"""The pass that fills the cache: no file is decoded here that has not been decoded before by a process that may die."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.image_sets import encoded, order, picture, write
from tests.worker.training.cache.places import Heard, entries, obtained, pixels, settled_folder, wanted
from worker.training import data, image_inspection
from worker.training.cache.build import Writing
from worker.training.cache.shards import ShardWriter
from worker.training.image_check import inspect
from worker.training.image_folder import survey
from worker.training.image_inspection import Limits, Seen

pytestmark = pytest.mark.timeout(600)  # processes that load OpenCV
FOLDER = {"kind": "folder", "path": "set"}
REGISTERED = {"kind": "registered", "id": "ds_1"}
CRASHING = """
import os, sys
from worker.training import image_looker
look = image_looker._look
def hostile(folder, name, memory_bytes):
    if "crash" in name:
        os.abort()
    return look(folder, name, memory_bytes)
image_looker._look = hostile
image_looker.main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
"""


def test_a_file_that_kills_its_decoder_is_refused_by_name_and_the_cache_is_built(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 40, "b": 40})
    write(folder / "a" / "crash.png", encoded(picture(7), ".png"))
    program = (sys.executable, str(write(tmp_path / "program.py", CRASHING.encode())))
    monkeypatch.setattr(image_inspection, "Limits", lambda: Limits(program=program))
    found, heard = obtained(replace(wanted(folder, tmp_path / "1"), bad_image_share=0.1))
    assert [(each.name, each.reason) for each in found.index.refused] == [
        ("a/crash.png", "makes the image decoder crash (by SIGABRT)")
    ]
    assert (len(found.index.names), found.entry is not None, heard.codes) == (80, True, ["data_cached"])
    assert len(entries(cache)) == 1


def test_a_file_that_changes_between_its_check_and_its_decoding_is_refused(tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 2, "b": 2})
    layout, looks = survey(str(folder)), inspect(str(folder)).looks
    writer, lock = ShardWriter(tmp_path, lambda _: None), os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    writing = Writing(3, wanted(folder, tmp_path).reduction, writer, Heard(), lock)
    writing.begin(layout)
    write(folder / "a" / "1.png", encoded(picture(99), ".png"))
    (folder / "b" / "0.png").unlink()
    taken = [writing.take(name, look) for name, look in zip(layout.names, looks, strict=True) if isinstance(look, Seen)]
    writer.abandon()
    os.close(lock)
    assert [taken[0], taken[3]] == [looks[0], looks[3]]
    assert taken[1:3] == ["changed while it was checked", "cannot be read: No such file or directory"]
    assert sorted(writing.slots) == ["a/0.png", "b/1.png"]


def test_what_does_not_keep_reads_what_is_kept_and_adds_nothing(cache: Path, tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    told = order(tmp_path / "1", FOLDER, folder)
    first = data.load(told, heard := Heard(), keep=False)
    expected = pixels(first)
    assert (heard.codes, entries(cache)) == ([], [])
    told.paths.run_dir = str(tmp_path / "2")
    data.load(told)
    pinned = order(tmp_path / "3", REGISTERED, folder)
    pinned.paths.dataset_sha256 = first.sha256
    for file in folder.rglob("*.png"):
        file.unlink()
    assert pixels(data.load(pinned, keep=False)) == expected


def test_names_of_the_training_images_are_those_of_their_files(cache: Path, tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    for run in ("1", "2"):  # from the files, and from the cache
        loaded = data.load(order(tmp_path / run, FOLDER, folder))
        assert len(loaded.train_names) == len(loaded.train) == 8
        assert list(loaded.train_names) == loaded.train_names[:] == [loaded.train_names[at] for at in range(8)]
        for index, name in enumerate(loaded.train_names):
            number = int(Path(name).stem) + (1000 if name.startswith("b/") else 0)
            assert loaded.train.read(index).tobytes() == picture(number).tobytes()
