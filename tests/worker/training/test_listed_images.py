"""A CSV file that lists the images: every good form is understood, every bad one named, and none fills the memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.contract.failures import FailureCode
from tests.support.image_sets import encoded, image_folder, order, picture, write
from worker.training import data
from worker.training.errors import RunFailure
from worker.training.image_check import check, facts
from worker.training.image_folder import survey
from worker.training.layouts import Layout

HEAD = "path,label\n"
TWO = "1.png,cat\n2.png,dog\n"


def listed(tmp_path: Path, text: str | bytes, name: str = "labels.csv") -> Layout:
    write(tmp_path / name, text if isinstance(text, bytes) else text.encode())
    return survey(str(tmp_path))


def refusal(tmp_path: Path, text: str | bytes, name: str = "labels.csv") -> str:
    with pytest.raises(RunFailure) as caught:
        listed(tmp_path, text, name)
    assert caught.value.failure.code == FailureCode.BAD_DATASET
    return caught.value.failure.message


def reasons(layout: Layout) -> dict[str, str]:
    return {each.name: each.reason for each in layout.refused}


def test_rows_give_files_their_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    layout = listed(tmp_path, HEAD + "b/10.png,dog\nb/9.png,dog\n./a//1.png, cat \n")
    assert layout.names == ["a/1.png", "b/9.png", "b/10.png"]
    assert [layout.classes[label] for label in layout.labels] == ["cat", "dog", "dog"]
    assert (layout.has_validation, layout.refused, layout.warnings) == (False, [], [])
    assert layout.listed_in == "labels.csv"


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfpath,label\n1.png,cat\n2.png,dog\n",
        b"path,label\r\n1.png,cat\r\n2.png,dog",
        b'"path","label"\n"1.png","cat"\n\n"2.png","dog"\n\n',
        b" Label ,PATH\ncat,1.png\ndog,2.png\n",
    ],
    ids=["byte order mark", "CRLF, no last line end", "quotes and blank lines", "other order and case"],
)
def test_common_forms_of_csv_mean_the_same(tmp_path: Path, text: bytes) -> None:
    layout = listed(tmp_path, text)
    assert (layout.classes, layout.names, layout.labels) == (("cat", "dog"), ["1.png", "2.png"], [0, 1])


def test_labels_are_any_text(tmp_path: Path) -> None:
    layout = listed(tmp_path, HEAD + '1.png,猫\n2.png,a/b\n3.png,../up\n4.png,"a ""b"", c"\n5.png,=1+1\n')
    assert set(layout.classes) == {"猫", "a/b", "../up", 'a "b", c', "=1+1"}


@pytest.mark.parametrize("column", ["part", "split", "Split"])
def test_a_part_column_brings_the_validation_images(tmp_path: Path, column: str) -> None:
    rows = "1.png,cat,train\n2.png,dog,TRAIN\n3.png,cat,val\n4.png,dog,test\n"
    layout = listed(tmp_path, f"path,label,{column}\n{rows}")
    assert layout.has_validation
    assert layout.in_validation == [False, False, True]
    assert layout.names == ["1.png", "2.png", "3.png"]
    assert layout.warnings == ["1 images of the part 'test' are left out."]


def test_a_part_column_without_val_leaves_the_split_to_the_service_and_says_so(tmp_path: Path) -> None:
    layout = listed(tmp_path, "path,label,part\n1.png,cat,train\n2.png,dog,train\n")
    assert not layout.has_validation
    assert layout.warnings == ["No row of labels.csv is of the part 'val': a share of the images is held out."]


def test_other_columns_are_left_alone_and_named(tmp_path: Path) -> None:
    layout = listed(tmp_path, "photographer,path,label,year\nme,1.png,cat,1999\nyou,2.png,dog,\n")
    assert layout.names == ["1.png", "2.png"]
    assert layout.warnings == ["Columns of labels.csv that are not used: 'photographer', 'year'."]


def test_rows_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path) -> None:
    rows = [
        "/etc/hostname,cat", "../../etc/passwd,cat", "a/../../b.png,cat", "empty.png,", "blank.png,  ", ",cat",
        "short.png", "nul\0.png,cat", "3.png,ca\0t", f"long.png,{'x' * 256}", ".,cat", f"{'d/' * 2100}x,cat",
    ]  # fmt: skip
    found = reasons(listed(tmp_path, HEAD + TWO + "\n".join(rows) + "\n"))
    assert {name[:30]: reason for name, reason in found.items()} == {
        "/etc/hostname": "is an absolute path: paths are relative to the folder",
        "../../etc/passwd": "leads out of the folder",
        "a/../../b.png": "leads out of the folder",
        "empty.png": "has no label",
        "blank.png": "has no label",
        "labels.csv, line 9": "names no file",
        "labels.csv, line 10": "has fewer columns than the first line",
        "nul\\x00.png": "has a NUL character in its path",
        "3.png": "has a NUL character in its label",
        "long.png": "has a label of more than 255 characters",
        ".": "names no file",
        "d/" * 15: "has a path of more than 4096 bytes",
    }


def test_odd_parts_are_refused_row_by_row(tmp_path: Path) -> None:
    rows = "1.png,cat,train\n2.png,dog,train\n3.png,cat,Testing\n4.png,dog,\n"
    assert reasons(listed(tmp_path, f"path,label,part\n{rows}")) == {
        "3.png": "is of the part 'testing': there are train, val and test",
        "4.png": "is of no part",
    }


def test_a_file_that_is_listed_twice_counts_once_or_not_at_all(tmp_path: Path) -> None:
    layout = listed(tmp_path, HEAD + TWO + "./1.png,cat\n3.png,cat\n3.png,dog\n3.png,cat\n")
    assert layout.names == ["1.png", "2.png"]
    assert reasons(layout) == {"3.png": "is listed twice and not alike, in lines 5 and 6"}
    assert layout.warnings == ["1 rows of labels.csv repeat an earlier one and are left out."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must name the columns path and label"),
        (TWO, "it is '1.png,cat'"),
        ("path;label\n1.png;cat\n", "it is 'path;label'"),
        ("file,label\n1.png,cat\n", "must name the columns"),
        ("path,label,label\n", "each once"),
        ("path,label,part,split\n", "each once"),
        (HEAD, "at least 2 classes to its images; it has none"),
        (HEAD + "1.png,cat\n2.png,cat\n", "it has only 'cat'"),
        (HEAD + "/a,cat\n/b,dog\n", "2 rows are refused; /a is an absolute path"),
        ("path,label,part\n1.png,cat,train\n2.png,dog,val\n", "none to train on: 'dog'"),
        ((HEAD + TWO).encode("utf-16"), "is not UTF-8, in line 1"),
        (HEAD.encode() + "1.png,café\n".encode("latin-1"), "is not UTF-8, in line 2"),
        (HEAD + '1.png,"cat\n' * 9000, "not valid CSV near line"),
        (HEAD + TWO + '3.png,"a"b\n', "not valid CSV near line 4"),
        (HEAD + TWO + "x" * 70_000 + ",cat\n", "Line 4 of labels.csv is longer than 65536 bytes"),
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_refused_with_the_way_out(tmp_path: Path, text: str | bytes, words: str) -> None:
    message = refusal(tmp_path, text)
    assert words in message
    assert "labels.csv" in message


def test_which_csv_file_counts(tmp_path: Path) -> None:
    folders = image_folder(tmp_path / "folders", {"a": 1, "b": 1})
    write(folders / "notes.csv", b"date,weather\n")
    assert survey(str(folders)).listed_in == ""  # another CSV file beside class folders
    assert listed(folders, HEAD + TWO, "notes.csv").listed_in == "notes.csv"  # the only one, with the columns
    write(folders / "more.csv", (HEAD + TWO).encode())
    assert survey(str(folders)).listed_in == ""  # which of the two?
    assert listed(folders, HEAD + TWO).listed_in == "labels.csv"  # no doubt
    write(tmp_path / "flat" / "train.csv", b"file,class\n")
    with pytest.raises(RunFailure, match=r"'train\.csv' is not used: call it labels\.csv"):
        survey(str(tmp_path / "flat"))


def test_a_list_outside_the_folder_or_that_is_no_file_is_not_opened(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", b"path,label\nroot,password\n")
    inside = image_folder(tmp_path / "set", {"a": 1, "b": 1})
    (inside / "labels.csv").symlink_to(secret)
    with pytest.raises(RunFailure, match="is a link that leads out of the folder"):
        survey(str(inside))
    (inside / "labels.csv").unlink()
    os.mkfifo(inside / "labels.csv")  # opening it would wait for a writer
    with pytest.raises(RunFailure, match="is not a regular file"):
        survey(str(inside))


def images(folder: Path) -> Path:
    for number in range(1, 5):
        write(folder / f"{number}.png", encoded(picture(number), ".png"))
    return folder


def test_listed_files_are_checked_and_the_missing_named(tmp_path: Path) -> None:
    write(images(tmp_path / "set") / "labels.csv", (HEAD + TWO + "3.png,cat\n4.png,dog\nnone.png,cat\n").encode())
    found = facts(check(str(tmp_path / "set"), 0.5))
    assert found.classes == {"cat": 2, "dog": 2}
    assert [(each.name, each.reason) for each in found.refused] == [
        ("none.png", "cannot be read: No such file or directory")
    ]


def test_the_hash_covers_labels_and_parts_too(tmp_path: Path) -> None:
    folder = images(tmp_path / "set")
    first, second = "1.png,cat\n2.png,dog\n3.png,cat\n4.png,dog\n", "1.png,dog\n2.png,dog\n3.png,cat\n4.png,cat\n"
    found = set()
    for text in (
        HEAD + first,
        HEAD + second,
        "path,label,part\n" + first.replace("\n", ",train\n", 3) + "4.png,dog,val\n",
    ):
        write(folder / "labels.csv", text.replace("4.png,dog\n4", "4").encode())
        found.add(check(str(folder), 0).sha256)
    assert len(found) == 3
    write(folder / "labels.csv", ("path,label\r\n" + first + "\n").encode())
    assert check(str(folder), 0).sha256 in found


def test_a_class_without_validation_images_is_a_warning_here(tmp_path: Path) -> None:
    rows = "path,label,part\n1.png,cat,train\n2.png,dog,train\n3.png,cat,val\n4.png,dog,train\n"
    write(images(tmp_path / "set") / "labels.csv", rows.encode())
    warnings = check(str(tmp_path / "set"), 0).warnings
    assert "Classes without an image to validate with: 'dog'." in warnings


def test_a_listed_set_is_trained_on(tmp_path: Path) -> None:
    rows = "path,label,split\n1.png,b/猫,train\n2.png,a,train\n3.png,a,val\n4.png,b/猫,val\n"
    folder = images(tmp_path / "set")
    write(folder / "labels.csv", rows.encode())
    told = order(tmp_path / "run", {"kind": "folder", "path": str(folder)}, folder)
    assert data.outline(told).classes == ("a", "b/猫")
    loaded = data.load(told)
    assert loaded.train.labels_N.tolist() == [1, 0]
    assert loaded.validation.labels_N.tolist() == [0, 1]


MANY = """
import resource, sys
from worker.training.image_folder import survey
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
layout = survey(sys.argv[1])
print(len(layout.names), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_many_rows_take_memory_by_the_row(tmp_path: Path) -> None:
    rows = 50_000
    with (tmp_path / "labels.csv").open("w") as file:
        file.write("path,label,note\n")
        file.writelines(f"images/{number}.jpg,{number % 10},{'x' * 500}\n" for number in range(rows))
    done = subprocess.run([sys.executable, "-c", MANY, tmp_path], capture_output=True, text=True, check=True)
    count, grown_kb = map(int, done.stdout.split())
    assert count == rows
    assert grown_kb * 1024 < 1500 * rows  # the file has 530 bytes a row; a million rows stay below 1.5 GB
