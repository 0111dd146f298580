"""Where batches are made: chosen by the device or by hand, and the same batches either way."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.support.pipelines import compiled
from worker.training import executors
from worker.training.augment import Pipeline
from worker.training.executors import VARIABLE, OnDevice, OnHost
from worker.training.images import Image, Images
from worker.training.loader import Batch, Loader

pytestmark = pytest.mark.timeout(600)

CPU = torch.device("cpu")
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def pipeline() -> Pipeline:
    return compiled(
        {"kind": "random_crop", "size": [24, 24], "scale": [0.4, 1.0]},
        {"kind": "trivial_augment"},
        {"kind": "gaussian_blur"},
        {"kind": "random_erasing"},
    )


def picture(index: int) -> Image:
    """Smooth, so that a level here is a level there."""
    y, x = np.mgrid[: 30 + index % 5, : 30 + index % 7]
    return np.stack([4 * x + index % 50, 3 * y + 20, 2 * (x + y)], -1).astype(np.uint8)


NUMBERS = np.arange(130)
IMAGES = Images(NUMBERS % 10, np.stack([30 + NUMBERS % 5, 30 + NUMBERS % 7], -1), 3, picture)


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    """What the device makes of all images."""
    return pixels(loaded(OnDevice(pipeline(), CPU), 2, 130))


def batches(size: int) -> list[npt.NDArray[np.int64]]:
    shuffled = np.random.default_rng(0).permutation(130)
    return [shuffled[start : start + size] for start in range(0, 130, size)]


def loaded(executor: executors.Executor, threads: int, size: int) -> list[Batch]:
    with Loader(IMAGES, pipeline(), threads, executor=executor) as loader:
        return list(loader.train(1, batches(size)))


def pixels(made: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.images_NHWC for batch in made]).cpu()


@pytest.mark.parametrize(("threads", "size"), [(4, 130), (3, 11), (1, 33)])
def test_what_the_device_makes_depends_on_neither_threads_nor_batches(
    threads: int, size: int, expected: torch.Tensor
) -> None:
    assert torch.equal(pixels(loaded(OnDevice(pipeline(), CPU), threads, size)), expected)


def test_a_batch_too_large_for_the_memory_of_one_go_is_made_in_several(
    monkeypatch: pytest.MonkeyPatch, expected: torch.Tensor
) -> None:
    gone = []
    run = executors.batched.run
    monkeypatch.setattr(executors, "_PIXELS_AT_ONCE", 24 * 24 * 70)
    monkeypatch.setattr(executors.batched, "run", lambda parts, *rest: gone.append(len(parts)) or run(parts, *rest))
    assert torch.equal(pixels(loaded(OnDevice(pipeline(), CPU), 2, 130)), expected)
    assert gone == [2, 2, 1]  # parts of 32 images


def test_both_give_the_loader_the_same_batches(expected: torch.Tensor) -> None:
    host, device = (loaded(executor, 2, 130) for executor in (OnHost(pipeline()), OnDevice(pipeline(), CPU)))
    for one, other in zip(host, device, strict=True):
        assert torch.equal(one.labels_N, other.labels_N)
        assert one.images_NHWC.shape == other.images_NHWC.shape
        assert one.images_NHWC.dtype == other.images_NHWC.dtype
    assert torch.equal(pixels(device), expected)
    assert (pixels(host).int() - pixels(device).int()).abs().float().mean() < 0.1


@pytest.mark.parametrize(
    ("setting", "device", "kind"),
    [
        ("", "cpu", OnHost),
        ("", "cuda", OnDevice),
        ("cpu", "cpu", OnHost),
        ("cpu", "cuda", OnHost),
        ("device", "cpu", OnDevice),
        ("device", "cuda", OnDevice),
    ],
)
def test_a_gpu_makes_its_own_batches_unless_told_otherwise(
    setting: str, device: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, setting)
    assert type(executors.choose(pipeline(), torch.device(device))) is kind


def test_another_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "gpu")
    with pytest.raises(ValueError, match=VARIABLE):
        executors.choose(pipeline(), CPU)


@ON_GPU
def test_batches_made_on_a_gpu_lie_there_and_the_host_never_waits_for_them() -> None:
    device = torch.device("cuda", 0)
    first = loaded(OnDevice(pipeline(), device), 2, 64)  # what is cached on first use has been sent
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = loaded(OnDevice(pipeline(), device), 2, 64)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(batch.images_NHWC.device == device for batch in made)
    assert torch.equal(pixels(made), pixels(first))
    assert (pixels(made).int() - pixels(loaded(OnHost(pipeline()), 2, 64)).int()).abs().float().mean() < 0.1
