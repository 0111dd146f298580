"""Where batches are made: on the host, image by image, or on the device, all at once. Both make the same pixels.

A GPU makes its own batches, and the threads of the host only read, decode and cut; on a CPU the OpenCV executor is
faster. `TRAINYARD_AUGMENT_ON=cpu` or `device` decides otherwise, for tests and comparisons.
"""

import os

import torch

from worker.training import augment, batched
from worker.training.augment import Pipeline, Plan
from worker.training.batched import Part, sources
from worker.training.batched.resident import Arrived, Resident
from worker.training.images import Selection
from worker.training.loader import Executor, Indices, Making
from worker.training.recycled import Recycled

# N = images in the batch, H W = height and width of what the network sees, C = channels

VARIABLE = "TRAINYARD_AUGMENT_ON"

_BATCHES = 6  # whose memory is used again: three in the making, one that waits, one that is trained on, one to begin
_PIXELS_AT_ONCE = 1 << 22  # of the output: 84 images of 224 x 224. A tap takes about 100 bytes a pixel meanwhile


def is_on(device: torch.device) -> bool:
    """Whether the device makes its batches. Raises ValueError for a setting that is neither of the two."""
    place = os.environ.get(VARIABLE) or ("device" if device.type == "cuda" else "cpu")
    if place not in ("cpu", "device"):
        raise ValueError(f"{VARIABLE} is {place!r}: it can be cpu or device.")
    return place == "device"


def choose(pipeline: Pipeline, device: torch.device, resident: Resident | None = None) -> Executor[torch.Tensor]:
    """The executor for a network on `device`. `resident`: images of the set that may stay there. Raises ValueError."""
    if is_on(device):
        return OnDevice(pipeline, device, resident)
    return OnHost(pipeline, pinned=device.type == "cuda")


class _Labelled:
    """Labels stay on the host until the batch is asked for."""

    def labels(self, labels_N: Indices) -> torch.Tensor:
        return torch.from_numpy(labels_N)


class OnHost(_Labelled):
    """With OpenCV, image by image, in the threads that add them."""

    def __init__(self, pipeline: Pipeline, *, pinned: bool = False) -> None:
        """`pinned`: in page-locked memory, so that copies to a GPU can be asynchronous."""
        self._size = pipeline.size
        self._pinned = pinned
        self._memory = Recycled(_BATCHES)

    def begin(self, count: int, channels: int) -> Making[torch.Tensor]:
        """Batches lie on the host."""
        shape = (count, *self._size, channels)
        if self._pinned:  # torch uses page-locked memory again by itself
            return _Filling(torch.empty(shape, dtype=torch.uint8, pin_memory=True))
        return _Filling(self._memory.empty(shape, torch.uint8))


class _Filling:
    def __init__(self, images_NHWC: torch.Tensor) -> None:
        self._images_NHWC = images_NHWC
        self._out_NHWC = images_NHWC.numpy()

    def add(self, start: int, images: Selection, plan: Plan) -> None:
        augment.fill(self._out_NHWC[start:], images, plan)

    def result(self) -> torch.Tensor:
        return self._images_NHWC


class OnDevice(_Labelled):
    """All images of a batch at once, in torch. Threads cut out what is read, the device does the rest."""

    def __init__(self, pipeline: Pipeline, device: torch.device, resident: Resident | None = None) -> None:
        """`resident`: of the images that batches are made of; one thread takes the batches' results."""
        self._size = pipeline.size
        self._device = device
        self._resident = resident

    def begin(self, count: int, channels: int) -> Making[torch.Tensor]:
        """Batches lie on the device."""
        return _Gathering(self._size, self._device, self._resident)


class _Gathering:
    def __init__(self, size: tuple[int, int], device: torch.device, resident: Resident | None) -> None:
        self._size = size
        self._device = device
        self._resident = resident
        self._parts: dict[int, Part] = {}
        self._arrived: list[Arrived] = []

    def add(self, start: int, images: Selection, plan: Plan) -> None:
        pinned = self._device.type == "cuda"
        if self._resident:
            self._parts[start], arrived = self._resident.cut(images, plan, self._size, pinned=pinned)
            self._arrived += [arrived] if arrived else []
            return
        cut = sources.cut(list(images), plan.matrices_N33, plan.borders, self._size, pinned=pinned)
        self._parts[start] = Part(cut, plan.pixels)

    def result(self) -> torch.Tensor:
        # Here and not in the threads: an image is there when it was sent before all that reads it, in one stream.
        for arrived in self._arrived:
            self._resident.receive(arrived)  # type: ignore[union-attr]
        parts = [self._parts[start] for start in sorted(self._parts)]
        images_at_once = _PIXELS_AT_ONCE // (self._size[0] * self._size[1])
        parts_at_once = max(1, images_at_once // len(parts[0]))
        groups = [parts[first : first + parts_at_once] for first in range(0, len(parts), parts_at_once)]
        return torch.cat([batched.run(group, self._size, self._device) for group in groups])
