"""What holds for every source of images, shown on the examples of its contract class."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contract.data import Data
from app.contract.spec import kinds
from app.contract.work import RunOrder
from tests.support.image_sets import image_folder, order
from worker.training import data

EXAMPLES = [pytest.param(example, id=f"{kind}-{number}") for kind, cls in kinds(Data).items() for number, example in enumerate(cls.examples)]  # fmt: skip  # noqa: E501
EXAMPLES.append(pytest.param({"kind": "builtin", "name": "fashion_mnist"}, id="builtin-fashion_mnist"))


@pytest.fixture(params=EXAMPLES)
def told(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOrder:
    monkeypatch.setenv("TRAINYARD_FASHION_MNIST", str(small_fashion_mnist(tmp_path / "fashion")))
    example: dict[str, Any] = request.param
    folder = None if example["kind"] == "builtin" else image_folder(tmp_path / "set", {"a": 10, "b": 7, "c": 5})
    return order(tmp_path / "run", example, folder)


def small_fashion_mnist(folder: Path) -> Path:
    """The four files in their format, with few images."""
    folder.mkdir()
    for part, count in (("train", 30), ("t10k", 10)):
        pixels = np.random.default_rng(count).integers(0, 256, count * 28 * 28, np.uint8).tobytes()
        images = struct.pack(">IIII", 0x803, count, 28, 28) + pixels
        labels = struct.pack(">II", 0x801, count) + bytes(number % 10 for number in range(count))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return folder


def test_every_class_is_in_both_parts_and_images_are_what_the_labels_count(told: RunOrder) -> None:
    loaded = data.load(told)
    for images in (loaded.train, loaded.validation):
        assert set(images.labels_N) == set(range(len(loaded.classes)))
        assert images.labels_N.dtype == np.int64
        assert images.sizes_N2.shape == (len(images), 2)
        for index in (0, len(images) - 1):
            image = images.read(index)
            assert image.dtype == np.uint8
            assert image.shape == (*images.sizes_N2[index], 3)
    assert len(loaded.train) > len(loaded.validation) > 0
    assert len(loaded.sha256) == 64


def test_loading_twice_gives_the_same(told: RunOrder) -> None:
    first, second = data.load(told), data.load(told)
    assert first.sha256 == second.sha256
    np.testing.assert_array_equal(first.train.labels_N, second.train.labels_N)
    np.testing.assert_array_equal(first.validation.read(1), second.validation.read(1))


def test_one_channel_is_the_luminance_of_three(told: RunOrder) -> None:
    body = told.spec.model_dump(mode="json")
    gray = order(Path(told.paths.run_dir), body["dataset"], model={**body["model"], "channels": 1})
    gray.paths = told.paths
    one, three = data.load(gray).train, data.load(told).train
    assert one.channels == 1
    assert three.channels == 3
    luminance = three.read(0).astype(float) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(one.read(0)[..., 0], luminance, atol=1)


def test_the_outline_agrees_with_what_is_loaded(told: RunOrder) -> None:
    outline, loaded = data.outline(told), data.load(told)
    assert outline == data.Outline(loaded.classes, len(loaded.train), len(loaded.validation), loaded.is_split)
