import json
from pathlib import Path

import numpy as np
import pytest

from app.contract.failures import FailureCode
from tests.support.image_sets import encoded, image_folder, order, picture, write
from worker.training import data
from worker.training.errors import RunFailure

FOLDER = {"kind": "folder", "path": "set"}


def test_pixels_are_those_of_the_files(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})
    loaded = data.load(order(tmp_path / "run", FOLDER, folder))
    for index in range(4):
        np.testing.assert_array_equal(loaded.train.read(index), picture([0, 1, 1000, 1001][index]))
    assert loaded.train.labels_N.tolist() == [0, 0, 1, 1]
    assert loaded.validation.labels_N.tolist() == [0, 1]


def test_a_run_by_hand_finds_the_folder_in_the_spec(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 4, "b": 4})
    assert len(data.load(order(tmp_path / "run", {"kind": "folder", "path": str(folder)})).train) == 6


def test_refused_files_are_handed_on(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 60, "b": 60})
    write(folder / "a" / "bad.png", b"bad")
    loaded = data.load(order(tmp_path / "run", FOLDER, folder))
    assert [refused.name for refused in loaded.refused] == ["a/bad.png"]
    assert loaded.refused_count == 1


def test_too_few_images_to_hold_any_out_are_refused(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 1, "b": 1})
    with pytest.raises(RunFailure, match="2 training and 0 validation images are too few") as caught:
        data.load(order(tmp_path / "run", FOLDER, folder))
    assert caught.value.failure.code == FailureCode.BAD_DATASET


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", "0")


@pytest.mark.usefixtures("no_cache")
def test_without_a_cache_decoded_images_stay_in_memory(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 4, "b": 4})
    train = data.load(order(tmp_path / "run", FOLDER, folder)).train
    before = train.read(0)
    for file in folder.rglob("*.png"):
        file.unlink()
    assert train.read(0) is before


def test_with_a_cache_files_are_not_needed_any_more(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 4, "b": 4})
    train = data.load(order(tmp_path / "run", FOLDER, folder)).train
    for file in folder.rglob("*.png"):
        file.unlink()
    np.testing.assert_array_equal(train.read(0), picture(0))


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        (b"rubbish", "has changed"),
        (encoded(picture(1, 99, 99), ".png"), "has changed"),
        (encoded(picture(99), ".png"), "has changed"),
    ],
    ids=["gone", "damaged", "another size", "another image"],
)
def test_a_file_that_changes_under_a_running_job_fails_it_by_name(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    folder = image_folder(tmp_path / "set", {"a": 4, "b": 4})
    train = data.load(order(tmp_path / "run", FOLDER, folder)).train
    for file in folder.rglob("*.png"):
        file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(RunFailure, match=reason) as caught:
        train.read(0)
    assert caught.value.failure.code == FailureCode.BAD_DATASET
    assert caught.value.failure.message.startswith("a/")


def test_a_network_from_a_checkpoint_says_how_many_channels_it_reads(tmp_path: Path) -> None:
    write(tmp_path / "model" / "model.json", json.dumps({"channels": 1}).encode())
    folder = image_folder(tmp_path / "set", {"a": 4, "b": 4})
    told = order(tmp_path / "run", FOLDER, folder, model={"kind": "checkpoint", "job": "job_1"})
    told.paths.model = str(tmp_path / "model")
    assert data.load(told).train.read(0).shape == (12, 16, 1)
