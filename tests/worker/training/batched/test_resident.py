"""Images that stay on the device: the same bits as images that are sent each time, and each is read once."""

import gc
import weakref
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest
import torch

from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from worker.training import augment, residency
from worker.training.augment import Pipeline
from worker.training.batched.resident import Resident
from worker.training.data import LoadedData
from worker.training.distributed.single import SingleRank
from worker.training.errors import RunFailure
from worker.training.executors import VARIABLE, OnDevice
from worker.training.images import Image, Images
from worker.training.loader import Loader
from worker.training.residency import Residency

pytestmark = pytest.mark.timeout(600)

CPU = torch.device("cpu")
COUNT = 90
NUMBERS = np.arange(COUNT)
LARGE = NUMBERS % 9 == 0
SIZES_N2 = np.stack([30 + NUMBERS % 5, 33 + NUMBERS % 7], -1) * np.where(LARGE, 4, 1)[:, None]
KINDS = [
    {"kind": "random_crop", "size": [24, 24], "scale": [0.4, 1.0]},
    {"kind": "random_rotate", "degrees": 40},
    {"kind": "color_jitter", "brightness": 0.3, "probability": 0.5},
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Many small operations: torch's threads would mostly wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Source:
    """Noise, so that a pixel from elsewhere shows; counts what is read."""

    def __init__(self, channels: int = 3) -> None:
        self.read: list[int] = []
        self.channels = channels
        self.images = Images(NUMBERS % 10, SIZES_N2, channels, self._read)

    def _read(self, index: int) -> Image:
        self.read.append(index)
        shape = (*SIZES_N2[index].tolist(), self.channels)
        return np.random.default_rng(index).integers(0, 256, shape, np.uint8)


def pipeline(border: str = "reflect") -> Pipeline:
    spec = {
        "dataset": {"kind": "folder", "path": "x"},
        "model": {"kind": "timm", "name": "resnet10t"},
        "augment": [KINDS[0], KINDS[1] | {"border": border}, KINDS[2]],
    }
    return augment.compile(JobSpec.model_validate(spec))


def batches(epoch: int, size: int = 33) -> list[npt.NDArray[np.int64]]:
    shuffled = np.random.default_rng(epoch).permutation(COUNT)
    return [shuffled[start : start + size] for start in range(0, COUNT, size)]


def resident(source: Source, members: slice = slice(0, COUNT)) -> Resident:
    made = Resident(source.images, members)
    made.open(CPU)
    return made


def made(source: Source, kept: Resident | None, epochs: Sequence[int], border: str = "reflect") -> list[torch.Tensor]:
    """Each epoch's images, in the order of its batches."""
    pipe = pipeline(border)
    with Loader(source.images, pipe, 3, executor=OnDevice(pipe, CPU, kept)) as loader:
        return [torch.cat([batch.images_NHWC for batch in loader.train(epoch, batches(epoch))]) for epoch in epochs]


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("border", ["reflect", "replicate", "constant"])
def test_what_stays_is_read_bit_by_bit_as_what_is_sent(channels: int, border: str) -> None:
    source = Source(channels)
    sent = made(source, None, (0, 1), border)
    kept = resident(source)
    for one, other in zip(made(source, kept, (0, 1), border), sent, strict=True):
        assert torch.equal(one, other)
    assert kept.kept >= COUNT - LARGE.sum()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_they_are_the_same_bits_and_the_host_never_waits() -> None:
    source, gpu, pipe = Source(), torch.device("cuda", 0), pipeline()
    kept = Resident(source.images, slice(0, COUNT))
    kept.open(gpu)

    def on_gpu(resident: Resident | None, epoch: int) -> torch.Tensor:
        with Loader(source.images, pipe, 3, executor=OnDevice(pipe, gpu, resident)) as loader:
            return torch.cat([batch.images_NHWC for batch in loader.train(epoch, batches(epoch))])

    sent = [on_gpu(None, epoch) for epoch in (0, 1)]  # what is cached on first use has been sent
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = [on_gpu(kept, epoch) for epoch in (0, 1)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(*pair) for pair in zip(found, sent, strict=True))


def test_an_image_is_read_once_unless_it_is_reduced() -> None:
    source = Source()
    kept = resident(source)
    made(source, kept, (0, 1, 2))
    small, large = (sorted(index for index in source.read if LARGE[index] == is_large) for is_large in (False, True))
    assert small == NUMBERS[~LARGE].tolist()
    assert len(large) > LARGE.sum()  # 4 times their size: most of their windows shrink by more than 2.5


def test_evaluation_reads_from_the_device_too() -> None:
    source = Source()
    pipe, kept = pipeline(), resident(source)
    with Loader(source.images, pipe, 2) as loader:
        asked = [NUMBERS[:40], NUMBERS[40:]]
        expected = [batch.images_NHWC for batch in loader.evaluate(asked)]
    with Loader(source.images, pipe, 2, executor=OnDevice(pipe, CPU, kept)) as loader:
        for _ in range(2):
            source.read.clear()
            found = [batch.images_NHWC for batch in loader.evaluate(asked)]
    assert set(source.read) == set(NUMBERS[LARGE].tolist())
    levels = (torch.cat(found).int() - torch.cat(expected).int()).abs().float()
    assert levels.mean() < 0.1  # of 255: one executor beside the other


def test_only_its_own_part_takes_memory_and_stays() -> None:
    source, mine = Source(), NUMBERS[20:50]
    kept = resident(source, slice(20, 50))
    assert kept.size_bytes == SIZES_N2[mine].prod(axis=1).sum() * 3
    sent = made(source, None, (0, 1))
    assert all(torch.equal(*pair) for pair in zip(made(source, kept, (0, 1)), sent, strict=True))
    assert kept.kept <= len(mine)
    source.read.clear()
    made(source, kept, (2,))
    assert not set(source.read) & set(mine[~LARGE[mine]].tolist())


def test_what_was_read_for_a_batch_that_nobody_took_is_read_again() -> None:
    source = Source()
    pipe, kept = pipeline(), resident(source)
    sent = made(source, None, (0,))[0]
    with Loader(source.images, pipe, 3, executor=OnDevice(pipe, CPU, kept)) as loader:
        taken = list(islice(loader.train(0, batches(0, 9)), 2))
        assert kept.kept <= sum(len(batch.labels_N) for batch in taken)
        again = torch.cat([batch.images_NHWC for batch in loader.train(0, batches(0))])
    assert torch.equal(again, sent)


def test_an_image_that_cannot_be_read_ends_the_batch_that_needs_it() -> None:
    def read(_index: int) -> Image:
        raise RunFailure(FailureCode.BAD_DATASET, "7.png cannot be read")

    pipe, broken = pipeline(), Images(NUMBERS % 10, SIZES_N2, 3, read)
    kept = Resident(broken, slice(0, COUNT))
    kept.open(CPU)
    with Loader(broken, pipe, executor=OnDevice(pipe, CPU, kept)) as loader, pytest.raises(RunFailure, match=r"7\.png"):
        next(loader.train(0, batches(0)))
    assert kept.kept == 0


def test_its_memory_is_given_back() -> None:
    source = Source()
    kept = resident(source)
    pixels = weakref.ref(kept._pixels_PC)
    sent = made(source, None, (0,))
    made(source, kept, (0,))
    assert pixels() is not None
    kept.close()
    gc.collect()
    assert pixels() is None
    assert torch.equal(made(source, kept, (0,))[0], sent[0])


def settled(tell: list[tuple[str, dict]], source: Source, rank: int = 0, world: int = 1) -> Residency:
    loaded = LoadedData(("a",), source.images, source.images.subset(NUMBERS[:30]), [], 0, "")
    found = residency.of(loaded, SingleRank(CPU, rank, world))
    found.open(lambda _level, code, message, **data: tell.append((f"{code}: {message}", data)))
    return found


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv(VARIABLE, "device")
    return monkeypatch


def test_what_fits_stays_and_it_is_told(on_device: pytest.MonkeyPatch) -> None:
    source, told = Source(), []
    training, validation = (int(SIZES_N2[:count].prod(axis=1).sum()) * 3 for count in (COUNT, 30))
    for allowed, kept in (
        (training + validation, (True, True)),
        (training + validation - 1, (True, False)),
        (training - 1, (False, True)),
        (validation - 1, (False, False)),
    ):
        on_device.setenv(residency.VARIABLE, str(allowed))
        found = settled(told, source)
        assert [each.is_open for each in (found.training, found.validation)] == list(kept)
        taken = (training if kept[0] else 0) + (validation if kept[1] else 0)
        assert told[-1][1] == {"allowed_bytes": allowed, "taken_bytes": taken}
    assert "90 training images" in told[0][0]
    assert "stay on the device" in told[0][0]
    assert "do not fit" in told[-1][0]


def test_nothing_stays_on_a_cpu_unless_it_is_told_to(on_device: pytest.MonkeyPatch) -> None:
    for name, value in ((residency.VARIABLE, ""), (residency.VARIABLE, "0"), (VARIABLE, "cpu")):
        on_device.setenv(residency.VARIABLE, "1000000000")
        on_device.setenv(name, value)
        told: list[tuple[str, dict]] = []
        assert not settled(told, Source()).training.is_open
        assert told == []


def test_a_rank_keeps_the_validation_images_that_it_evaluates(on_device: pytest.MonkeyPatch) -> None:
    on_device.setenv(residency.VARIABLE, "1000000000")
    parts = [settled([], Source(), rank, 4).validation.images for rank in range(4)]
    assert parts == [8, 8, 7, 7]


def test_a_device_without_room_is_a_reason_to_send_them(on_device: pytest.MonkeyPatch) -> None:
    on_device.setenv(residency.VARIABLE, str(1 << 62))
    huge = Images(np.zeros(2, np.int64), np.full((2, 2), 1 << 29), 3, lambda _index: np.zeros((1, 1, 3), np.uint8))
    source, told = Source(), []
    source.images = huge
    loaded = LoadedData(("a",), huge, huge.subset(NUMBERS[:1]), [], 0, "")
    residency.of(loaded, SingleRank(CPU)).open(lambda _level, _code, message, **_data: told.append(message))
    assert len(told) == 1
    assert "do not fit" in told[0]


def test_a_setting_that_is_no_number_is_named(on_device: pytest.MonkeyPatch) -> None:
    on_device.setenv(residency.VARIABLE, "much")
    with pytest.raises(ValueError, match=residency.VARIABLE):
        settled([], Source())
