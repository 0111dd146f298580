"""Checking a folder file by file: what is kept, what is refused by name, and when the whole set is."""

from pathlib import Path

import pytest

from app.contract.failures import FailureCode
from tests.support.image_sets import encoded, image_folder, picture, write
from worker.training.errors import RunFailure
from worker.training.image_check import check, facts


def refusal(folder: Path, bad_image_share: float = 0.01) -> str:
    with pytest.raises(RunFailure) as caught:
        check(str(folder), bad_image_share)
    assert caught.value.failure.code == FailureCode.BAD_DATASET
    return caught.value.failure.message


def test_the_facts_of_a_good_set_are_found(tmp_path: Path) -> None:
    image_folder(tmp_path, {"a": 3, "b": 2})
    write(tmp_path / "a" / "photo.jpg", encoded(picture(1, 50, 30), ".jpg"))
    found = facts(check(str(tmp_path), 0.01))
    assert found.classes == {"a": 4, "b": 2}
    assert (found.images, found.validation_images, found.refused_count) == (6, 0, 0)
    sizes = found.image_sizes
    assert (sizes.min_height, sizes.max_height, sizes.min_width, sizes.max_width) == (12, 50, 16, 30)
    assert found.size_bytes == sum(file.stat().st_size for file in tmp_path.rglob("*.*"))


def test_bad_files_within_the_tolerance_are_named_and_left_out(tmp_path: Path) -> None:
    image_folder(tmp_path, {"a": 5, "b": 5})
    write(tmp_path / "a" / "fake.jpg", b"no image at all")
    write(tmp_path / "b" / "cut.jpg", encoded(picture(1, 40, 40), ".jpg")[:-80])
    (tmp_path / "b" / "away.png").symlink_to("/etc/hostname")
    manifest = check(str(tmp_path), 0.5)
    assert {refused.name: refused.reason for refused in manifest.refused} == {
        "a/fake.jpg": "is not a JPEG, PNG, WebP, BMP or TIFF image",
        "b/cut.jpg": "is damaged or cut off",
        "b/away.png": "is a link that leads out of the data set's folder",
    }
    assert len(manifest.names) == len(manifest.sizes) == len(manifest.labels) == 10


def test_beyond_the_tolerance_the_set_is_refused_with_the_first_names_and_the_count(tmp_path: Path) -> None:
    image_folder(tmp_path, {"a": 50, "b": 50})
    for number in range(12):
        write(tmp_path / "a" / f"bad{number}.jpg", b"")
    message = refusal(tmp_path)
    assert "12 of 112 files cannot be used" in message
    assert "a/bad0.jpg is empty; a/bad1.jpg" in message
    assert "bad9.jpg" in message
    assert "bad10.jpg" not in message


def test_the_tolerance_is_met_exactly(tmp_path: Path) -> None:
    image_folder(tmp_path, {"a": 50, "b": 49})
    write(tmp_path / "a" / "bad.jpg", b"")
    assert check(str(tmp_path), 0.01).refused_count == 1
    assert "cannot be used" in refusal(tmp_path, 0.0099)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    assert "class 'nothing'" in refusal(image_folder(tmp_path / "plain", {"a": 2, "nothing": 0}))
    split = image_folder(tmp_path / "split", {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 0})
    assert "in val/ of class 'b'" in refusal(split)
    assert "no files at all" in refusal(image_folder(tmp_path / "empty", {"a": 0, "b": 0}))


def test_the_hash_is_of_names_and_contents_whatever_the_order_they_were_written_in(tmp_path: Path) -> None:
    first = check(str(image_folder(tmp_path / "1", {"a": 3, "b": 2})), 0.01)
    files = sorted((tmp_path / "1").rglob("*.png"), reverse=True)
    for file in files:
        write(tmp_path / "2" / file.relative_to(tmp_path / "1"), file.read_bytes())
    write(tmp_path / "2" / "notes.txt", b"not part of it")
    assert check(str(tmp_path / "2"), 0.01).sha256 == first.sha256
    (tmp_path / "2" / "a" / "0.png").rename(tmp_path / "2" / "a" / "9.png")
    renamed = check(str(tmp_path / "2"), 0.01).sha256
    write(tmp_path / "2" / "a" / "1.png", encoded(picture(77), ".png"))
    assert len({first.sha256, renamed, check(str(tmp_path / "2"), 0.01).sha256}) == 3
