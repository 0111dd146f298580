"""Subsets and the memory of decoded images."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from worker.training.images import Image, Images, Remembered


def shaded(index: int) -> Image:
    return np.full((2, 3, 1), index, np.uint8)


def test_a_subset_of_a_subset_reads_the_right_images() -> None:
    images = Images(np.arange(10) % 3, np.tile([[2, 3]], (10, 1)), 1, shaded)
    part = images.subset(np.array([8, 2, 5, 1])).subset(np.array([3, 0]))
    assert len(part) == 2
    assert [int(part.read(n)[0, 0, 0]) for n in (0, 1)] == [1, 8]
    assert part.labels_N.tolist() == [1, 2]


def test_what_fits_the_budget_is_read_once_and_the_rest_each_time() -> None:
    reads: list[int] = []

    def read(index: int) -> Image:
        reads.append(index)
        return shaded(index)

    remembered = Remembered(read, budget_bytes=4 * 6)
    for _ in range(3):
        for index in range(6):
            assert (remembered(index) == index).all()
    assert reads == [0, 1, 2, 3, 4, 5, 4, 5, 4, 5]


def test_many_threads_share_one_budget() -> None:
    remembered = Remembered(shaded, budget_bytes=50 * 6)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(remembered, list(range(200)) * 5))
    assert [int(image[0, 0, 0]) for image in made] == list(range(200)) * 5
    first = [remembered(index) for index in range(200)]
    again = [remembered(index) for index in range(200)]
    assert sum(one is other for one, other in zip(first, again, strict=True)) == 50
