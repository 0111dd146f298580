"""The second executor of a plan: a whole batch at once, in plain torch, on any device. Meant for GPUs.

It makes the pixels that `Pipeline.run` makes (worker/training/resample.py, pixels.py): the same window of each source,
the same reduction by whole factors, one bilinear tap, the same steps behind it. Exact where no value is interpolated
or weighted; elsewhere rounding may differ by one level in 255.

- `sources`: threads of the host cut out of each image what the device will read, and pack a chunk of them.
- `resident`: or whole images stay on the device once they were sent, and are read there.
- `resample`: one tap for every pixel of the batch, out of packed images of any sizes.
- `steps`: what is done to the values of final images.

Nothing here waits for the device, and no result depends on which images share a batch: sums are whole numbers, all
else is element by element.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from worker.training.batched import resample, steps
from worker.training.batched.sources import Sources, joined
from worker.training.batched.transfer import send
from worker.training.geometry import Size
from worker.training.pixels import PixelStep

# N = images in the batch, M = images that a step changes, H W = height and width of what the network sees, C = channels


@dataclass(frozen=True)
class Part:
    """Some consecutive images of a batch, and what is done to them behind the resample."""

    sources: Sources | None
    """Of those that were packed on the host; null: of none."""
    pixels: list[PixelStep]
    resident: Sources | None = None
    """Of those that lie on the device; null: of none."""
    is_resident_N: npt.NDArray[np.bool_] | None = None
    """Which these are; null: none."""

    @property
    def where_N(self) -> npt.NDArray[np.bool_]:
        """True for each image that lies on the device."""
        return np.zeros(len(self), np.bool_) if self.is_resident_N is None else self.is_resident_N

    def __len__(self) -> int:
        return sum(len(each.borders) for each in (self.sources, self.resident) if each)


def run(parts: Sequence[Part], size: Size, device: torch.device) -> torch.Tensor:
    """The images as the network sees them: N x H x W x C, uint8, on `device`. `size` is (H, W).

    All parts are made together, so the caller bounds how much memory that takes.
    """
    images_NHWC = _warped(parts, size, device)
    for merged in map(joined, zip(*(part.pixels for part in parts), strict=True)):
        work = steps.prepare(merged)
        if len(work.members_M):
            images_NHWC = _changed(images_NHWC, work)
    return images_NHWC


def _warped(parts: Sequence[Part], size: Size, device: torch.device) -> torch.Tensor:
    """One resample of what was packed, each part sent by itself (joined, it would not be page-locked), and one of what
    lies on the device."""
    packed = [part.sources.to(device) for part in parts if part.sources]
    resident = [part.resident for part in parts if part.resident]
    made = [resample.warp(joined(each), size) for each in (packed, resident) if each]
    if len(made) == 1:
        return made[0]
    is_resident_N = np.concatenate([part.where_N for part in parts])
    images_NHWC = torch.cat(made)
    places_N = np.empty(len(is_resident_N), np.int64)  # of each image among those just made
    places_N[np.argsort(is_resident_N, kind="stable")] = np.arange(len(is_resident_N))
    (order_N,) = send([places_N], device)
    return images_NHWC.index_select(0, order_N)


def _changed(images_NHWC: torch.Tensor, work: steps.Work) -> torch.Tensor:
    members_M, *numbers = send([work.members_M, *work.numbers], images_NHWC.device)
    if len(members_M) == len(images_NHWC):
        return work.change(images_NHWC, *numbers)
    changed_MHWC = work.change(images_NHWC.index_select(0, members_M), *numbers)
    return images_NHWC.index_copy_(0, members_M, changed_MHWC)
