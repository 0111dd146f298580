"""The pass that fills the cache: each file is read and decoded once, by a process that may die of it."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.image_sets import encoded, order, picture, write
from tests.worker.training.cache.places import Heard, entries, obtained, pixels, settled_folder, wanted
from worker.training import data, image_files, image_inspection
from worker.training.image_inspection import Limits

pytestmark = pytest.mark.timeout(600)  # processes that load OpenCV
FOLDER = {"kind": "folder", "path": "set"}
REGISTERED = {"kind": "registered", "id": "ds_1"}
CRASHING = """
import os, sys
from worker.training import image_looker
look = image_looker._look
def hostile(folder, name, *rest):
    if "crash" in name:
        os.abort()
    return look(folder, name, *rest)
image_looker._look = hostile
image_looker.main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
"""
CHANGING = """
import os, sys
from worker.training import image_files, image_looker
read = image_files.read
def once(folder, name):
    content = read(folder, name)
    os.truncate(f"{folder}/{name}", 0)
    return content
image_files.read = once
image_looker.main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
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


def test_what_is_kept_is_what_was_hashed_though_the_file_changes_meanwhile(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 2, "b": 2})
    contents = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.png")}
    program = (sys.executable, str(write(tmp_path / "program.py", CHANGING.encode())))
    monkeypatch.setattr(image_inspection, "Limits", lambda: Limits(program=program))
    found, heard = obtained(wanted(folder, tmp_path / "1"))
    assert heard.codes == ["data_cached"]
    assert found.entry
    reader = found.entry.reader()
    for index, name in enumerate(found.index.names):
        assert found.index.contents_N32[index].tobytes() == hashlib.sha256(contents[name]).digest()
        assert (reader.read(index) == image_files.decode(contents[name], 3)).all()
        assert (folder / name).stat().st_size == 0


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
