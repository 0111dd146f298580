"""The same content twice, in two classes, on both sides of the split; and what is odd about classes."""

import csv
import hashlib
import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from app.contract.file_table import COLUMNS, FILE, SUMMARY, TableSummary
from tests.support.image_sets import encoded, image_folder, order, picture, write
from worker.training import data, image_table
from worker.training.image_check import check, facts, inspect
from worker.training.image_findings import same_content

SAME = encoded(picture(4242), ".png")


def found(folder: Path) -> dict[str, tuple[str, str]]:
    return {each.name: (each.finding, each.duplicate_of) for each in check(str(folder), 0.5).findings}


def test_copies_within_a_class_are_duplicates_of_the_first(tmp_path: Path) -> None:
    folder = image_folder(tmp_path, {"a": 3, "b": 3})
    for name in ("a/7.png", "a/8.png", "a/9.jpg"):
        write(folder / name, SAME)
    assert found(folder) == {"a/8.png": ("duplicate", "a/7.png"), "a/9.jpg": ("duplicate", "a/7.png")}
    manifest = check(str(folder), 0)
    assert manifest.finding_counts == {"duplicate": 2}
    assert len(manifest.names) == 9  # told, not left out
    assert "2 images have the content of another: a held-out share may hold copies" in manifest.warnings[0]


def test_copies_in_two_classes_are_named_both(tmp_path: Path) -> None:
    folder = image_folder(tmp_path, {"a": 3, "b": 3})
    for name in ("a/7.png", "a/8.png", "b/7.png"):
        write(folder / name, SAME)
    assert found(folder) == {
        "a/7.png": ("other_class", "b/7.png"), "a/8.png": ("other_class", "b/7.png"),
        "b/7.png": ("other_class", "a/7.png"),
    }  # fmt: skip


def test_what_validates_and_is_trained_on_is_a_leak(tmp_path: Path) -> None:
    folder = image_folder(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    for name in ("train/a/7.png", "val/a/8.png", "val/b/9.png"):
        write(folder / name, SAME)
    manifest = check(str(folder), 0)
    assert [(each.name, each.finding, each.duplicate_of) for each in manifest.findings] == [
        ("val/a/8.png", "leak", "train/a/7.png"),
        ("val/b/9.png", "leak", "train/a/7.png"),
        ("train/a/7.png", "other_class", "val/b/9.png"),
    ]
    assert facts(manifest).finding_counts == {"leak": 2, "other_class": 1}


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.booleans()), max_size=30))
def test_findings_are_those_of_comparing_every_pair(images: list[tuple[int, int, bool]]) -> None:
    contents = [str(content) for content, _, _ in images]
    labels, held = [label for _, label, _ in images], [held for _, _, held in images]
    expected = {}
    for index, (content, label, is_held) in enumerate(images):
        same = [other for other in range(len(images)) if images[other][0] == content and other != index]
        if is_held and any(not held[other] for other in same):
            expected[index] = "leak"
        elif any(labels[other] != label for other in same):
            expected[index] = "other_class"
        elif any(other < index for other in same):
            expected[index] = "duplicate"
    told = same_content(contents, labels, held)
    assert {index: finding for index, (finding, _) in told.found.items()} == expected
    assert all(contents[index] == contents[other] and index != other for index, (_, other) in told.found.items())


def test_what_a_record_names_is_bounded_and_what_it_counts_is_not(tmp_path: Path) -> None:
    names = [f"{number:04d}{'y' * 900}" for number in range(3000)]
    told = same_content(["x"] * 3000, [0] * 3000, [False] * 3000)
    assert told.counts() == {"duplicate": 2999}
    assert 10 < len(told.named(names)) <= 100
    assert sum(len(each.model_dump_json()) for each in told.named(names)) <= 50_000


def test_a_class_with_one_image_is_trained_on_and_named(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 6, "single": 1, "b": 6})
    assert check(str(folder), 0).warnings == [
        "Classes with only one image, which is trained on and never validated: 'single'."
    ]
    told = order(tmp_path / "run", {"kind": "folder", "path": str(folder)}, folder)
    single = data.load(told).classes.index("single")
    assert single in data.load(told).train.labels_N
    assert single not in data.load(told).validation.labels_N


def test_classes_that_are_hard_to_tell_apart_are_named(tmp_path: Path) -> None:
    folder = image_folder(tmp_path, {"Cat": 2, "cat": 2, "caf\u00e9": 2, "cafe\u0301": 2, "dog": 2})
    (warning,) = check(str(folder), 0).warnings
    assert "'Cat', 'cat'" in warning
    assert "dog" not in warning
    assert warning.count("caf") == 2


def test_ten_thousand_classes_are_counted_in_full() -> None:
    labels = [number % 10_000 for number in range(20_000)]
    assert same_content([str(number) for number in range(20_000)], labels, [False] * 20_000).found == {}


def table(folder: Path, out: Path) -> tuple[TableSummary, list[dict[str, str]]]:
    inspected = inspect(str(folder))
    summary = image_table.write(out, inspected.layout, inspected.looks, inspected.findings)
    with (out / FILE).open(newline="", encoding="utf-8") as file:
        return summary, list(csv.DictReader(file, strict=True))


def test_the_table_has_every_file_with_all_that_is_known(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})
    write(folder / "val" / "a" / "copy.png", (folder / "train" / "a" / "0.png").read_bytes())
    write(folder / "train" / "b" / "bad.jpg", b"no image")
    (folder / "train" / "a" / "loop").symlink_to(folder)
    summary, records = table(folder, tmp_path / "out")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [FILE, SUMMARY]
    content = (tmp_path / "out" / FILE).read_bytes()
    assert summary == TableSummary.model_validate_json((tmp_path / "out" / SUMMARY).read_bytes())
    assert (summary.records, summary.size_bytes) == (9, len(content))
    assert summary.sha256 == hashlib.sha256(content).hexdigest()
    by_path = {each["path"]: each for each in records}
    assert by_path["val/a/copy.png"] == {
        "path": "val/a/copy.png", "label": "a", "part": "val", "status": "used", "reason": "", "finding": "leak",
        "duplicate_of": "train/a/0.png", "format": "png", "height": "12", "width": "16",
        "size_bytes": str((folder / "train" / "a" / "0.png").stat().st_size),
        "sha256": hashlib.sha256((folder / "train" / "a" / "0.png").read_bytes()).hexdigest(),
    }  # fmt: skip
    assert (by_path["train/b/bad.jpg"]["status"], by_path["train/b/bad.jpg"]["label"]) == ("refused", "b")
    assert by_path["train/b/bad.jpg"]["reason"] == "is not a JPEG, PNG, WebP, BMP or TIFF image"
    assert by_path["train/a/loop"]["reason"] == "is a link to a folder; links to folders are not followed"


def test_cells_are_what_they_say_whatever_they_begin_with(tmp_path: Path) -> None:
    odd = ['=HYPERLINK("x").png', "+1.png", "-1.png", "@SUM.png", 'quo"te,.png', "line\r\nbreak.png", "猫.png"]
    folder = image_folder(tmp_path / "set", {"=a": 2, "b": 2})
    for number, name in enumerate(odd):
        write(folder / "=a" / name, encoded(picture(50 + number), ".png"))
    _, records = table(folder, tmp_path / "out")
    assert {f"=a/{name}" for name in odd} <= {each["path"] for each in records}
    text = (tmp_path / "out" / FILE).read_bytes().decode()
    assert text.startswith(",".join(COLUMNS) + "\r\n")
    assert len(list(csv.reader(io.StringIO(text, newline=""), strict=True))) == 1 + len(records)
    assert {each[0] for each in image_table.used(tmp_path / "out" / FILE)} == {each["path"] for each in records}


def test_a_table_can_be_given_back_as_a_list(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})
    table(folder, tmp_path / "out")
    write(folder / "labels.csv", (tmp_path / "out" / FILE).read_bytes())
    again = check(str(folder), 0)
    first = check(str(image_folder(tmp_path / "other", {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})), 0)
    assert (again.names, again.labels, again.in_validation) == (first.names, first.labels, first.in_validation)
