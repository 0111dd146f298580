from pathlib import Path

import numpy as np
import pytest

from app.contract.failures import FailureCode
from tests.support.image_sets import encoded, image_folder, order, picture, write
from worker.training import data
from worker.training.errors import RunFailure
from worker.training.image_check import check

REGISTERED = {"kind": "registered", "id": "ds_1"}


def test_the_registered_content_is_trained_on_and_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", "0")
    folder = image_folder(tmp_path / "set", {"a": 4, "b": 4})
    told = order(tmp_path / "run", REGISTERED, folder)
    told.paths.dataset_sha256 = check(str(folder), 0).sha256
    assert data.load(told).sha256 == told.paths.dataset_sha256
    write(folder / "a" / "0.png", encoded(picture(99), ".png"))
    told.paths.run_dir = str(tmp_path / "another attempt")
    with pytest.raises(RunFailure, match="changed since the data set was registered"):
        data.load(told)


def test_what_is_kept_of_the_registered_content_is_trained_on_though_files_have_changed(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 4, "b": 4})
    told = order(tmp_path / "run", REGISTERED, folder)
    told.paths.dataset_sha256 = check(str(folder), 0).sha256
    before = data.load(told)
    write(folder / "a" / "0.png", encoded(picture(99), ".png"))
    told.paths.run_dir = str(tmp_path / "another attempt")
    after = data.load(told)
    assert after.sha256 == before.sha256
    for index in range(len(before.train)):
        np.testing.assert_array_equal(after.train.read(index), before.train.read(index))


def test_an_id_without_a_folder_is_refused_at_its_field(tmp_path: Path) -> None:
    with pytest.raises(RunFailure) as caught:
        data.load(order(tmp_path / "run", REGISTERED))
    assert caught.value.failure.code == FailureCode.BAD_SPEC
    assert caught.value.failure.errors[0].pointer == "/dataset/id"
