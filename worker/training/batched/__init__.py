"""The second executor of a plan: a whole batch at once, in plain torch, on any device. Meant for GPUs.

It makes the pixels that `Pipeline.run` makes (worker/training/resample.py, pixels.py): the same window of each source,
the same reduction by whole factors, one bilinear tap, the same steps behind it. Exact where no value is interpolated
or weighted; elsewhere rounding may differ by one level in 255.

- `sources`: threads of the host cut out of each image what the device will read, and pack a chunk of them.
- `resample`: one tap for every pixel of the batch, out of packed images of any sizes.
- `steps`: what is done to the values of final images.

Nothing here waits for the device, and no result depends on which images share a batch: sums are whole numbers, all
else is element by element.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from worker.training.batched import resample, steps
from worker.training.batched.sources import Sources, joined
from worker.training.batched.transfer import send
from worker.training.geometry import Size
from worker.training.pixels import PixelStep

# N = images in the batch, M = images that a step changes, H W = height and width of what the network sees, C = channels


@dataclass(frozen=True)
class Part:
    """Some consecutive images of a batch, packed on the host, and what is done to them behind the resample."""

    sources: Sources
    pixels: list[PixelStep]


def run(parts: Sequence[Part], size: Size, device: torch.device) -> torch.Tensor:
    """The images as the network sees them: N x H x W x C, uint8, on `device`. `size` is (H, W).

    All parts are made together, so the caller bounds how much memory that takes.
    """
    sources = joined([part.sources.to(device) for part in parts])  # each by itself: what is joined here is not pinned
    images_NHWC = resample.warp(sources, size)
    for merged in map(joined, zip(*(part.pixels for part in parts), strict=True)):
        work = steps.prepare(merged)
        if len(work.members_M):
            images_NHWC = _changed(images_NHWC, work)
    return images_NHWC


def _changed(images_NHWC: torch.Tensor, work: steps.Work) -> torch.Tensor:
    members_M, *numbers = send([work.members_M, *work.numbers], images_NHWC.device)
    if len(members_M) == len(images_NHWC):
        return work.change(images_NHWC, *numbers)
    changed_MHWC = work.change(images_NHWC.index_select(0, members_M), *numbers)
    return images_NHWC.index_copy_(0, members_M, changed_MHWC)
