"""Columns in a file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.image_sets import image_folder, write
from worker.training.cache import index
from worker.training.cache.index import Index, Names, Unreadable
from worker.training.image_check import check


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=20))
def test_names_are_the_strings_that_they_were_made_of(strings: list[str]) -> None:
    names = Names.of(strings)
    assert list(names) == strings == names
    assert [names[number] for number in range(len(names))] == strings
    assert names[-2:] == strings[-2:]
    with pytest.raises(IndexError):
        names[len(strings)]


def test_an_index_comes_back_from_its_file(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"train/猫": 3, "train/b\nc": 2, "val/猫": 1, "val/b\nc": 1})
    write(folder / "train" / "猫" / "bad.png", b"bad")
    manifest = check(str(folder), 0.5)
    made = Index.of(manifest)
    made.write(tmp_path / "file", said={"more": "text"})
    found, columns, said = index.read(tmp_path / "file")
    assert (columns, said) == ({}, {"more": "text"})
    assert (found.classes, found.names, found.sha256) == (manifest.classes, manifest.names, manifest.sha256)
    assert found.labels_N.tolist() == manifest.labels
    assert found.in_validation_N.tolist() == manifest.in_validation
    assert [tuple(size) for size in found.sizes_N2.tolist()] == manifest.sizes
    assert [each.tobytes().hex() for each in found.contents_N32] == manifest.contents
    assert (found.refused, found.refused_count) == (manifest.refused, 1)


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100, b"\xff" * 8 + b"{}"])
def test_what_is_no_index_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Unreadable, match="file cannot be read"):
        index.read(write(tmp_path / "file", content))
    with pytest.raises(FileNotFoundError):
        index.read(tmp_path / "none")
