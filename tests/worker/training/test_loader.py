"""Batches ahead of the network: the same for any threads and batches, in order, and with clean ends."""

import threading
import time
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from worker.training import augment
from worker.training import loader as loader_module
from worker.training.augment import Pipeline, Plan
from worker.training.errors import RunFailure
from worker.training.geometry import Array
from worker.training.images import Image, Images
from worker.training.loader import Batch, Loader

POLICIES: dict[str, list[dict[str, Any]]] = {
    "geometry": [
        {"kind": "random_crop", "size": [20, 20], "scale": [0.4, 1.0]},
        {"kind": "random_rotate", "degrees": 30},
    ],
    "colour": [{"kind": "color_jitter", "brightness": 0.4, "hue": 0.1}, {"kind": "grayscale", "probability": 0.5}],
    "values": [{"kind": "gaussian_blur"}, {"kind": "random_erasing"}],
    "policies": [{"kind": "trivial_augment"}, {"kind": "rand_augment"}],
}


def pipeline() -> Pipeline:
    return augment.compile(JobSpec.model_validate(JobSpec.examples[1]))


def picture(index: int) -> Image:
    return np.random.default_rng(index).integers(0, 256, (8 + index % 5, 8 + index % 7, 3), np.uint8)


def images(count: int = 150, read=picture) -> Images:
    numbers = np.arange(count)
    return Images(numbers % 10, np.stack([8 + numbers % 5, 8 + numbers % 7], -1), 3, read)


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
    seen: list[int] = []

    def read(index: int) -> Image:
        seen.append(index)
        return picture(index)

    with Loader(images(150, read), pipeline(), 2) as loader:
        made = loader.train(0, batches(150, 10))
        assert len(list(islice(made, 3))) == 3
        time.sleep(0.5)  # for threads that would do more
    assert 30 <= len(seen) <= 50


def test_batches_are_planned_many_at_once_and_come_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [*batches(150, 40), *batches(150, 7)]
    planned: list[int] = []
    plan = Pipeline.train_plan

    def watched(self: Pipeline, sizes_N2: Array, indices_N: npt.NDArray[np.int64], epoch: int) -> Plan:
        planned.append(len(indices_N))
        return plan(self, sizes_N2, indices_N, epoch)

    def made(at_once: int) -> list[Batch]:
        planned.clear()
        monkeypatch.setattr(loader_module, "_PLANNED", at_once)
        with Loader(images(), pipeline(), 3) as loader:
            return list(loader.train(1, asked))

    monkeypatch.setattr(Pipeline, "train_plan", watched)
    one_by_one, alone = made(1), [*planned]
    together, several = made(100), [*planned]
    assert sorted(alone) == sorted(len(batch) for batch in asked)
    assert sorted(several) == [80, 100, 120]
    assert all(torch.equal(one.images_NHWC, other.images_NHWC) for one, other in zip(one_by_one, together, strict=True))


@pytest.mark.parametrize("kind", sorted(POLICIES))
def test_a_part_of_a_plan_is_the_plan_of_that_part(kind: str) -> None:
    entries = {"augment": [{"kind": "resize", "size": [20, 20]}, *POLICIES[kind]]}
    made = augment.compile(JobSpec.model_validate(JobSpec.examples[1] | entries))
    some, numbers = [picture(n) for n in range(60)], np.arange(60)
    plan = made.train_plan(np.array([each.shape[:2] for each in some], np.float64), numbers, 1)
    expected_NHWC = made.run(some, plan)
    for part in (slice(0, 60), slice(7, 31), slice(59, 60)):
        np.testing.assert_array_equal(made.run(some[part], plan.part(part)), expected_NHWC[part])
        np.testing.assert_array_equal(made.train_NHWC(some[part], numbers[part], 1), expected_NHWC[part])


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
