"""Batches ahead of the network: the same for any threads and batches, in order, and with clean ends."""

import threading
from collections.abc import Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest
import torch

from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from worker.training import augment
from worker.training.augment import Pipeline
from worker.training.errors import RunFailure
from worker.training.images import Image, Images
from worker.training.loader import Batch, Loader


def pipeline() -> Pipeline:
    return augment.compile(JobSpec.model_validate(JobSpec.examples[1]))


def picture(index: int) -> Image:
    return np.random.default_rng(index).integers(0, 256, (8 + index % 5, 8 + index % 7, 3), np.uint8)


def images(count: int = 150, read=picture) -> Images:
    return Images(np.arange(count) % 10, np.zeros((count, 2), np.int64), 3, read)


def batches(count: int, size: int) -> list[npt.NDArray[np.int64]]:
    shuffled = np.random.default_rng(0).permutation(count)
    return [shuffled[start : start + size] for start in range(0, count, size)]


def by_sample(made: list[Batch], asked: list[npt.NDArray[np.int64]]) -> torch.Tensor:
    joined = torch.cat([batch.images_NHWC for batch in made])
    return joined[torch.from_numpy(np.argsort(np.concatenate(asked)))]


@pytest.mark.parametrize(("threads", "size"), [(1, 150), (4, 150), (3, 7), (8, 33)])
def test_pixels_depend_on_neither_threads_nor_batches(threads: int, size: int) -> None:
    expected = pipeline().train_NHWC([picture(n) for n in range(150)], np.arange(150), 2)
    with Loader(images(), pipeline(), threads) as loader:
        made = list(loader.train(2, batches(150, size)))
    np.testing.assert_array_equal(by_sample(made, batches(150, size)).numpy(), expected)


def test_two_ranks_see_the_pixels_of_one() -> None:
    asked = batches(150, 30)
    with Loader(images(), pipeline(), 2) as loader:
        one = by_sample(list(loader.train(0, asked)), asked)
        halves = [[np.array_split(batch, 2)[rank] for batch in asked] for rank in (0, 1)]
        ranks = [list(loader.train(0, half)) for half in halves]
    two = by_sample([*ranks[0], *ranks[1]], [*halves[0], *halves[1]])
    assert torch.equal(one, two)


def test_batches_come_in_order_with_their_labels_as_the_device_wants_them() -> None:
    asked = batches(150, 64)
    with Loader(images(), pipeline(), 2) as loader:
        made = list(loader.train(0, asked))
    assert [batch.labels_N.tolist() for batch in made] == [(indices % 10).tolist() for indices in asked]
    for batch, indices in zip(made, asked, strict=True):
        assert batch.images_NHWC.shape == (len(indices), 32, 32, 3)
        assert batch.images_NHWC.is_contiguous()
        assert (batch.images_NHWC.dtype, batch.labels_N.dtype) == (torch.uint8, torch.int64)


def test_evaluation_is_the_same_each_time() -> None:
    with Loader(images(), pipeline(), 2) as loader:
        first, second = (list(loader.evaluate(batches(150, 64))) for _ in range(2))
    assert all(torch.equal(one.images_NHWC, other.images_NHWC) for one, other in zip(first, second, strict=True))
    expected = pipeline().evaluate_NHWC([picture(n) for n in range(150)])
    np.testing.assert_array_equal(by_sample(first, batches(150, 64)).numpy(), expected)


def test_a_failure_is_raised_where_its_batch_would_come() -> None:
    def read(index: int) -> Image:
        if index == 100:
            raise RunFailure(FailureCode.BAD_DATASET, "100.png cannot be read")
        return picture(index)

    asked = [np.arange(start, start + 10) for start in range(0, 150, 10)]
    with Loader(images(150, read), pipeline(), 3) as loader:
        made = loader.train(0, asked)
        assert len(list(islice(made, 10))) == 10
        with pytest.raises(RunFailure, match=r"100\.png"):
            next(made)


def test_only_a_few_batches_are_begun_ahead() -> None:
    begun: list[int] = []

    class Asked(list[npt.NDArray[np.int64]]):
        def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
            for batch in super().__iter__():
                begun.append(len(batch))
                yield batch

    with Loader(images(), pipeline(), 2) as loader:
        assert len(list(islice(loader.train(0, Asked(batches(150, 10))), 3))) == 3
    assert len(begun) == 5


def test_an_iterator_that_is_left_early_leaves_no_work_and_the_loader_goes_on() -> None:
    with Loader(images(), pipeline(), 2) as loader:
        for _ in loader.train(0, batches(150, 10)):
            break
        assert len(list(loader.train(1, batches(150, 50)))) == 3


def test_threads_begin_with_the_first_batch_and_end_with_the_loader() -> None:
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]

    loader = Loader(images(), pipeline(), 4)
    assert threads() == []
    iterator = loader.train(0, batches(150, 10))
    next(iterator)
    assert threads() != []
    loader.close()
    assert threads() == []


def test_no_batches_are_no_batches() -> None:
    with Loader(images(), pipeline()) as loader:
        assert list(loader.train(0, [])) == []
