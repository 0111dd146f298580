"""Layouts of a data set's folder: understood, or refused with the way out."""

import os
from pathlib import Path

import pytest

from app.contract.failures import FailureCode
from tests.support.image_sets import image_folder, write
from worker.training.errors import RunFailure
from worker.training.image_folder import natural, survey


def refusal(folder: Path) -> str:
    with pytest.raises(RunFailure) as caught:
        survey(str(folder))
    assert caught.value.failure.code == FailureCode.BAD_DATASET
    return caught.value.failure.message


def test_a_folder_for_each_class_is_a_layout(tmp_path: Path) -> None:
    layout = survey(str(image_folder(tmp_path, {"dogs": 2, "cats": 1})))
    assert layout.classes == ("cats", "dogs")
    assert layout.names == ["cats/0.png", "dogs/0.png", "dogs/1.png"]
    assert layout.labels == [0, 1, 1]
    assert not layout.has_validation


def test_train_and_val_with_folders_for_each_class_are_a_layout(tmp_path: Path) -> None:
    counts = {"train/a": 2, "train/b": 1, "val/a": 1, "val/b": 1, "test/a": 1}
    layout = survey(str(image_folder(tmp_path, counts)))
    assert layout.classes == ("a", "b")
    assert layout.has_validation
    assert layout.names == ["train/a/0.png", "train/a/1.png", "train/b/0.png", "val/a/0.png", "val/b/0.png"]
    assert layout.labels == [0, 0, 1, 0, 1]
    assert layout.in_validation == [False, False, False, True, True]


def test_numbers_in_names_sort_by_value_and_the_file_system_has_no_say(tmp_path: Path) -> None:
    for name in ("10", "9", "a10b2", "a10b10", "a9", "A9", "é", "007", "7"):
        write(tmp_path / name / "x.png", b"")
    classes = survey(str(tmp_path)).classes
    assert classes == ("007", "7", "9", "10", "A9", "a9", "a10b2", "a10b10", "é")
    assert list(classes) == sorted(sorted(classes, reverse=True), key=natural)


def test_hidden_files_litter_and_files_beside_the_classes_are_left_out(tmp_path: Path) -> None:
    image_folder(tmp_path, {"a": 1, "b": 1})
    for name in ("README.txt", ".git/config", "a/.DS_Store", "b/Thumbs.db", "__MACOSX/a/._0.png"):
        write(tmp_path / name, b"x")
    layout = survey(str(tmp_path))
    assert layout.names == ["a/0.png", "b/0.png"]
    assert layout.refused == []


def test_folders_inside_a_class_belong_to_it(tmp_path: Path) -> None:
    write(image_folder(tmp_path, {"a": 1, "b": 1}) / "a" / "deeper" / "still" / "2.png", b"")
    assert survey(str(tmp_path)).names == ["a/0.png", "a/deeper/still/2.png", "b/0.png"]


def test_links_to_folders_are_refused_wherever_they_lead(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 1, "b": 1})
    image_folder(tmp_path / "outside", {"x": 1})
    (folder / "c").symlink_to(tmp_path / "outside")
    (folder / "a" / "loop").symlink_to(folder / "a")
    layout = survey(str(folder))
    assert layout.classes == ("a", "b")
    assert sorted(refused.name for refused in layout.refused) == ["a/loop", "c"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    image_folder(tmp_path / "set", {"a": 1, "b": 1})
    (tmp_path / "link").symlink_to("set")
    assert survey(str(tmp_path / "link")).folder == str((tmp_path / "set").resolve())


def test_names_that_are_not_utf_8_are_refused_by_a_readable_name(tmp_path: Path) -> None:
    folder = image_folder(tmp_path, {"猫": 1, "b": 1})
    (folder / os.fsdecode(b"caf\xe9")).mkdir()
    (folder / "b" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    layout = survey(str(folder))
    assert layout.classes == ("b", "猫")
    assert [refused.name for refused in layout.refused] == ["caf\\udce9", "b/\\udcff.png"]
    assert {refused.reason for refused in layout.refused} == {"has a name that is not UTF-8"}


def test_what_is_no_layout_is_refused_with_the_way_out(tmp_path: Path) -> None:
    assert "There is no folder" in refusal(tmp_path / "missing")
    assert "is no folder" in refusal(write(tmp_path / "file", b""))
    (tmp_path / "empty").mkdir()
    assert "at least 2 classes; it has none" in refusal(tmp_path / "empty")
    assert "it has only 'cats'" in refusal(image_folder(tmp_path / "one", {"cats": 3}))
    assert "There is a train/ but no val/" in refusal(image_folder(tmp_path / "half", {"train/a": 1, "train/b": 1}))


def test_train_and_val_must_agree_on_the_classes(tmp_path: Path) -> None:
    counts = {"train/a": 1, "train/b": 1, "train/old": 1, "val/a": 1, "val/b": 1, "val/new": 1}
    message = refusal(image_folder(tmp_path, counts))
    assert "only in train/: 'old'" in message
    assert "only in val/: 'new'" in message
