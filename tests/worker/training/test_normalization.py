"""Normalisation: fitted to what the network sees in evaluation, applied exactly."""

import numpy as np
import pytest
import torch

from tests.support.pipelines import compiled
from worker.training import normalization
from worker.training.images import Image, Images
from worker.training.normalization import Normalization


def picture(index: int) -> Image:
    return np.random.default_rng(index).integers(0, 256, (20, 20 + index % 5, 3), np.uint8)


def images(count: int, read=picture, channels: int = 3) -> Images:
    return Images(np.zeros(count, np.int64), np.zeros((count, 2), np.int64), channels, read)


RESIZE = {"kind": "resize", "size": [16, 16]}


def test_the_fit_is_the_mean_and_deviation_of_the_evaluated_images() -> None:
    pipeline = compiled(RESIZE, {"kind": "random_rotate", "degrees": 90})
    pixels = pipeline.evaluate_NHWC([picture(n) for n in range(50)]).reshape(-1, 3) / 255
    fitted = normalization.fit(images(50), pipeline)
    np.testing.assert_allclose(fitted.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.std, pixels.std(axis=0), rtol=1e-12)
    made = normalization.apply(torch.from_numpy(pipeline.evaluate_NHWC([picture(n) for n in range(50)])), fitted, torch.float64)  # fmt: skip  # noqa: E501
    np.testing.assert_allclose(made.mean(dim=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(made.std(dim=(0, 2, 3), correction=0), 1, rtol=1e-12)


def test_the_fit_does_not_depend_on_threads() -> None:
    assert len({normalization.fit(images(100), compiled(RESIZE), threads) for threads in (1, 2, 5)}) == 1


def test_a_large_set_is_sampled_evenly_from_end_to_end() -> None:
    seen: set[int] = set()

    def read(index: int) -> Image:
        seen.add(index)
        return np.full((4, 4, 3), index % 256, np.uint8)

    normalization.fit(images(10_000, read), compiled(RESIZE))
    assert len(seen) == 2_048
    assert {0, 9_999} <= seen
    assert np.diff(sorted(seen)).max() <= 5


def test_a_channel_that_never_changes_is_only_centred() -> None:
    def read(_index: int) -> Image:
        return np.full((4, 4, 3), (0, 51, 255), np.uint8)

    fitted = normalization.fit(images(5, read), compiled(RESIZE))
    assert fitted == Normalization((0, 0.2, 1), (1, 1, 1))
    made = normalization.apply(torch.from_numpy(read(0)[None]), fitted, torch.float64)
    np.testing.assert_allclose(made, 0, atol=1e-15)


@pytest.mark.parametrize(("given", "expected"), [([0.5], (0.5, 0.5, 0.5)), ([0.1, 0.2, 0.3], (0.1, 0.2, 0.3))])
def test_given_values_are_taken_one_for_all_channels_or_one_each(
    given: list[float], expected: tuple[float, ...]
) -> None:
    def never(_index: int) -> Image:
        raise AssertionError("no image needs to be read")

    pipeline = compiled({"kind": "normalize", "mean": given, "std": given})
    assert normalization.fit(images(5, never), pipeline) == Normalization(expected, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_come_in_the_asked_type_and_channels_last(dtype: torch.dtype, channels: int) -> None:
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 6, 5, channels), np.uint8))
    made = normalization.apply(batch, Normalization((0.4,) * channels, (0.2,) * channels), dtype)
    assert made.shape == (4, channels, 6, 5)
    assert made.dtype == dtype
    assert made.is_contiguous(memory_format=torch.channels_last)
    exact = (batch.permute(0, 3, 1, 2).double() / 255 - 0.4) / 0.2
    torch.testing.assert_close(made.double(), exact, rtol=torch.finfo(dtype).eps, atol=2 * torch.finfo(dtype).eps)
