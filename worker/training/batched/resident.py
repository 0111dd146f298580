"""Decoded images that stay on the device: each is sent once, when it is first needed, and read there from then on.

The device reads the very window of an image that the host would have cut out (`sources.spans`), so not a bit depends on
whether an image lies there. Where the image is reduced by whole factors for an output, the host makes that window as
ever: its box means are OpenCV's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from worker.training.augment import Plan
from worker.training.batched import Part
from worker.training.batched.sources import Sources, Spans, Whole, cut, spans
from worker.training.geometry import Size
from worker.training.images import Images, Selection

# N = images, M = those that may be kept, P = pixels of all of these, C = channels

_NONE: Whole = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Arrived:
    """Whole images on their way to the device."""

    pixels_PC: torch.Tensor
    """uint8, one image behind the other."""
    indices: list[int]


class Resident:
    """The images of one set that may stay on a device. `cut` is called by any threads, all else by one.

    Nothing stays before `open`: until then, and after `close`, every part is packed on the host.
    """

    def __init__(self, images: Images, members: slice) -> None:
        """`members`: those images that are read again and again, from one number to another; others are never kept."""
        self._images = images
        self._members = members
        self._pixels_PC: torch.Tensor | None = None
        self._starts_N = self._areas_N = _NONE
        self._there_N = np.zeros(0, np.bool_)

    @property
    def images(self) -> int:
        """How many may be kept."""
        return len(self._images.labels_N[self._members])

    @property
    def size_bytes(self) -> int:
        """What all of them take on the device."""
        return int(self._images.sizes_N2[self._members].prod(axis=1).sum()) * self._images.channels

    @property
    def kept(self) -> int:
        """How many are there by now."""
        return int(self._there_N.sum())

    @property
    def is_open(self) -> bool:
        """Whether images may stay."""
        return self._pixels_PC is not None

    def open(self, device: torch.device) -> None:
        """Take the memory. Raises what torch raises where there is too little."""
        pixels, channels = self.size_bytes // self._images.channels, self._images.channels
        self._pixels_PC = torch.empty((pixels, channels), dtype=torch.uint8, device=device)
        self._areas_N = self._images.sizes_N2.prod(axis=1)
        areas_M = self._areas_N[self._members]
        self._starts_N = np.full(len(self._images), -1, np.int64)
        self._starts_N[self._members] = np.cumsum(areas_M) - areas_M
        self._there_N = np.zeros(len(self._images), np.bool_)

    def close(self) -> None:
        """Give the memory back, as soon as no batch is made of it any more."""
        self._pixels_PC = None

    def cut(self, chosen: Selection, plan: Plan, size: Size, *, pinned: bool) -> tuple[Part, Arrived | None]:
        """The windows of some images as `plan` says, and those images that `receive` must have put there before."""
        indices_N = np.array(chosen.indices, np.int64)
        read = spans(self._images.sizes_N2[indices_N], plan.matrices_N33, size)
        pixels_PC = self._pixels_PC
        is_resident_N = np.zeros(len(indices_N), np.bool_)
        if pixels_PC is not None:
            is_resident_N = (read.factors_N2 == 1).all(axis=1) & (self._starts_N[indices_N] >= 0)
        packed = _packed(chosen, plan, size, ~is_resident_N, pinned=pinned)
        if pixels_PC is None or not is_resident_N.any():
            return Part(packed, plan.pixels), None
        resident = self._windows(pixels_PC, indices_N, plan, read, is_resident_N)
        arrived = self._fetched(indices_N[is_resident_N], pinned=pinned)
        return Part(packed, plan.pixels, resident, is_resident_N), arrived

    def receive(self, arrived: Arrived) -> None:
        """Put images where they stay. Does not wait for the device."""
        if self._pixels_PC is None:
            return
        end = 0
        for index in arrived.indices:
            area, start = int(self._areas_N[index]), int(self._starts_N[index])
            part_PC, end = arrived.pixels_PC[end : end + area], end + area
            self._pixels_PC[start : start + area].copy_(part_PC, non_blocking=True)
        self._there_N[arrived.indices] = True

    def _windows(
        self, pixels_PC: torch.Tensor, indices_N: Whole, plan: Plan, read: Spans, members_N: npt.NDArray[np.bool_]
    ) -> Sources:
        """What is read of the images that lie on the device, each in its own rows."""
        read, indices_N = read.of(members_N), indices_N[members_N]
        widths_N = self._images.sizes_N2[indices_N, 1]
        first_N = self._starts_N[indices_N] + read.starts_N2[:, 0] * widths_N + read.starts_N2[:, 1]
        maps_N23 = read.maps_into(plan.matrices_N33[members_N])
        borders = [plan.borders[number] for number in np.flatnonzero(members_N)]
        return Sources(pixels_PC, read.lengths_N2, maps_N23, borders, np.stack([first_N, widths_N], axis=-1))

    def _fetched(self, indices_N: Whole, *, pinned: bool) -> Arrived | None:
        """Those that are not there yet. Two batches that are made at once may both bring an image."""
        missing = np.unique(indices_N[~self._there_N[indices_N]]).tolist()
        if not missing:
            return None
        ends = np.cumsum(self._areas_N[missing]).tolist()
        pixels_PC = torch.empty((ends[-1], self._images.channels), dtype=torch.uint8, pin_memory=pinned)
        packed_PC = pixels_PC.numpy()
        for index, end in zip(missing, ends, strict=True):
            image = self._images.read(index)
            packed_PC[end - self._areas_N[index] : end] = image.reshape(-1, self._images.channels)
        return Arrived(pixels_PC, missing)


def _packed(
    chosen: Selection, plan: Plan, size: Size, members_N: npt.NDArray[np.bool_], *, pinned: bool
) -> Sources | None:
    numbers = np.flatnonzero(members_N).tolist()
    if not numbers:
        return None
    images = list(Selection(chosen.images, [chosen.indices[number] for number in numbers]))
    return cut(images, plan.matrices_N33[members_N], [plan.borders[number] for number in numbers], size, pinned=pinned)
