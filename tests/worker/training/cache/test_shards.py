"""Pixels that come back as they were, or not at all."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.training.cache import shards
from worker.training.cache.buffers import Buffers
from worker.training.cache.shards import Damaged, Places, ShardReader, ShardWriter, checksum


def image(index: int, height: int = 37, width: int = 11, channels: int = 3) -> shards.Image:
    return np.random.default_rng(index).integers(0, 256, (height + index % 5, width, channels), np.uint8)


def written(folder: Path, count: int, channels: int = 3, writers: int = 1) -> Places:
    numbers = itertools.count()

    def write(first: int) -> list[shards.Slot]:
        writer = ShardWriter(folder, lambda _size_bytes: next(numbers))
        slots = [writer.add(image(index, channels=channels)) for index in range(first, count, writers)]
        writer.close()
        return slots

    with ThreadPoolExecutor(writers) as pool:
        parts = list(pool.map(write, range(writers)))
    return Places.of([parts[index % writers][index // writers] for index in range(count)])


@pytest.mark.parametrize("channels", [1, 3])
def test_several_writers_share_a_folder_and_every_image_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)
    places = written(tmp_path, 100, channels, writers=4)
    files = sorted(tmp_path.iterdir())
    assert len(files) > 1
    assert all(file.stat().st_size <= 20_000 for file in files)
    reader = ShardReader(tmp_path, places, channels, len(files))
    for _ in range(2):  # with the checksum, and without it
        for index in range(100):
            np.testing.assert_array_equal(reader.read(index), image(index, channels=channels))


def test_an_image_larger_than_a_file_gets_one_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    places = written(tmp_path, 3)
    assert sorted(places.shards_N.tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(ShardReader(tmp_path, places, 3, 3).read(1), image(1))


def test_a_flipped_bit_and_a_lost_end_are_found(tmp_path: Path) -> None:
    places = written(tmp_path, 3)
    file = tmp_path / shards.name(0)
    with file.open("r+b") as opened:
        opened.seek(int(places.starts_N[1]) + 700)
        before = opened.read(1)[0]
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([before ^ 8]))
    reader = ShardReader(tmp_path, places, 3, 1)
    np.testing.assert_array_equal(reader.read(0), image(0))
    with pytest.raises(Damaged, match="other bytes"):
        reader.read(1)
    os.truncate(file, int(places.starts_N.max()) + 5)
    last = int(places.starts_N.argmax())
    with pytest.raises(Damaged, match="cut off"):
        reader.read(last)


@given(st.integers(1, 3000), st.integers(0, 2**20), st.integers(0, 7))
def test_any_single_bit_changes_the_checksum(words: int, place: int, bit: int) -> None:
    pixels = np.random.default_rng(words).integers(0, 256, words * 8, np.uint8)
    before = checksum(pixels)
    pixels[place % len(pixels)] ^= 1 << bit
    assert checksum(pixels) != before


@pytest.mark.parametrize("size", [1, 7, 8, 9, 4095, 4096, 4097, 4104, 10_001])
def test_the_checksum_is_that_of_pixels_filled_up_with_zeros(size: int) -> None:
    pixels = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    padded = np.zeros(-(-size // 8) * 8, np.uint8)
    padded[:size] = pixels
    assert checksum(pixels) == checksum(padded)


def test_nothing_is_written_into_a_folder_that_took_the_place_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    writer = ShardWriter(folder, lambda _size_bytes: 0)
    folder.rmdir()
    folder.mkdir()
    with pytest.raises(FileNotFoundError):
        writer.add(image(0))
    assert list(folder.iterdir()) == []
    writer.close()


def test_pages_that_change_places_or_are_zero_change_the_checksum() -> None:
    pages_P4096 = np.random.default_rng(0).integers(0, 256, (5, 4096), np.uint8)
    before = checksum(pages_P4096.reshape(-1))
    assert checksum(pages_P4096[[0, 2, 1, 3, 4]].reshape(-1)) != before
    pages_P4096[3] = 0
    assert checksum(pages_P4096.reshape(-1)) != before
    assert checksum(np.zeros(4096, np.uint8)) != checksum(np.zeros(8192, np.uint8))


def test_memory_is_used_again_only_when_nobody_sees_it() -> None:
    buffers = Buffers()
    first = buffers.take(100_000)
    first[:] = 7
    view = first.reshape(10, -1)[3]
    address = first.ctypes.data
    del first
    other = buffers.take(100_000)
    other[:] = 9
    assert (view == 7).all()
    del view
    again = buffers.take(90_000)
    assert again.ctypes.data == address
    assert (other == 9).all()
