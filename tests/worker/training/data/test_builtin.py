from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from app.contract.failures import FailureCode
from tests.support.image_sets import order
from worker.training import data
from worker.training.errors import RunFailure

DIGITS = {"kind": "builtin", "name": "digits"}
FASHION = {"kind": "builtin", "name": "fashion_mnist"}


def test_digits_are_scikit_learns_stretched_to_the_full_range(tmp_path: Path) -> None:
    bunch = load_digits()
    loaded = data.load(order(tmp_path, DIGITS))
    assert loaded.classes == tuple("0123456789")
    assert len(loaded.train) + len(loaded.validation) == 1797
    ours = {(int(label), images.read(index)[..., 0].tobytes()) for images in (loaded.train, loaded.validation) for index, label in enumerate(images.labels_N)}  # fmt: skip  # noqa: E501
    theirs = {(int(label), np.rint(image * 255 / 16).astype(np.uint8).tobytes()) for image, label in zip(bunch.images, bunch.target, strict=True)}  # fmt: skip  # noqa: E501
    assert ours == theirs


def test_the_split_of_digits_is_stratified_and_moves_with_the_seed(tmp_path: Path) -> None:
    first = data.load(order(tmp_path, {**DIGITS, "validation_fraction": 0.25}))
    counts = np.bincount(first.validation.labels_N)
    np.testing.assert_allclose(counts / (counts + np.bincount(first.train.labels_N)), 0.25, atol=0.005)
    other = data.load(order(tmp_path, {**DIGITS, "validation_fraction": 0.25}, training={"seed": 1}))
    assert other.sha256 == first.sha256
    assert any((first.validation.read(n) != other.validation.read(n)).any() for n in range(5))


def test_fashion_mnist_that_is_not_installed_is_refused_at_its_field_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_FASHION_MNIST", str(tmp_path))
    with pytest.raises(RunFailure) as caught:
        data.outline(order(tmp_path, FASHION))
    failure = caught.value.failure
    assert failure.code == FailureCode.BAD_SPEC
    assert [problem.pointer for problem in failure.errors] == ["/dataset/name"]
    assert "dataset-fashion-mnist" in failure.message


def test_damaged_files_of_fashion_mnist_are_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_FASHION_MNIST", str(tmp_path))
    for content in (b"", b"\0\0\x08\x03\0\0", b"\0\0\x08\x03" + bytes([0, 0, 0, 9] * 3) + b"short"):
        (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
        with pytest.raises(RunFailure, match="not usable"):
            data.outline(order(tmp_path, FASHION))
