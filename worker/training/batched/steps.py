"""The steps on the values of final images (worker/training/pixels.py, colour.py), for a batch at once.

Each step says on the host which images it changes and with which numbers, and on the device how. An image that a step
leaves alone is not touched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial, singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.training import pixels
from worker.training.batched import filters
from worker.training.colour import ColourMap
from worker.training.pixels import Blur, Equalize, Erase, PixelStep, Sharpen, Stretch, Table

# M = images that a step changes, H W = height and width, C = channels: 1 or 3


@dataclass(frozen=True)
class Work:
    """What the host knows of a step, and what the device does with it."""

    members_M: npt.NDArray[np.int64]
    """Which images of the batch change."""
    numbers: tuple[npt.NDArray[Any], ...]
    """One row of each for every one of these images."""
    change: Callable[..., Tensor]
    """(images_MHWC, numbers as tensors...) to images_MHWC; uint8 both."""


@singledispatch
def prepare(step: PixelStep) -> Work:
    """The step for a whole batch."""
    raise NotImplementedError(f"{type(step).__name__} has no form for a batch: add one to batched/steps.py.")


@prepare.register
def _(step: Table) -> Work:
    members_M = np.flatnonzero((step.tables_N256 != np.arange(256)).any(axis=1))
    return Work(members_M, (step.tables_N256[members_M],), lambda images, tables: _look_up(images, tables[:, None]))


@prepare.register
def _(step: Stretch) -> Work:
    return Work(np.flatnonzero(step.chosen_N), (), _stretched)


@prepare.register
def _(step: Equalize) -> Work:
    return Work(np.flatnonzero(step.chosen_N), (), _equalized)


@prepare.register
def _(step: Sharpen) -> Work:
    members_M = np.flatnonzero(step.factors_N != 1)
    return Work(members_M, (step.factors_N[members_M].astype(np.float32),), filters.sharpened)


@prepare.register
def _(step: Blur) -> Work:
    members_M = np.flatnonzero(step.sigmas_N > 0)
    return Work(members_M, (filters.kernels(step.sigmas_N[members_M]),), filters.filtered)


@prepare.register
def _(step: ColourMap) -> Work:
    same_N = (step.own_N33 == np.eye(3)).all(axis=(1, 2)) & ~step.mean_N33.any(axis=(1, 2))
    members_M = np.flatnonzero(~same_N)
    return Work(members_M, (step.own_N33[members_M], step.mean_N33[members_M]), _recoloured)


@prepare.register
def _(step: Erase) -> Work:
    members_M = np.flatnonzero(step.boxes_N4[:, 2:].all(axis=1))
    return Work(members_M, (step.boxes_N4[members_M], step.seeds_N[members_M]), partial(_erased, fill=step.fill))


def _look_up(images_MHWC: Tensor, tables_MC256: Tensor) -> Tensor:
    """Each value replaced by its entry; one table for all channels, or one for each."""
    count, channels = images_MHWC.shape[0], images_MHWC.shape[3]
    starts_MC = torch.arange(count * channels, device=images_MHWC.device).mul_(256).reshape(count, 1, 1, channels)
    return tables_MC256.expand(count, channels, 256).reshape(-1)[images_MHWC.long().add_(starts_MC)]


def _stretched(images_MHWC: Tensor) -> Tensor:
    low_MC1 = images_MHWC.amin((1, 2)).double()[..., None]
    high_MC1 = images_MHWC.amax((1, 2)).double()[..., None]
    values_256 = torch.arange(256, device=images_MHWC.device, dtype=torch.float64)
    slopes_MC1 = torch.full_like(low_MC1, 255) / (high_MC1 - low_MC1).clamp_(min=1)  # 255 / x is 255 * (1 / x) in torch
    tables_MC256 = ((values_256 - low_MC1) * slopes_MC1).round_().clamp_(0, 255)
    return _look_up(images_MHWC, torch.where(high_MC1 > low_MC1, tables_MC256, values_256).to(torch.uint8))


def _equalized(images_MHWC: Tensor) -> Tensor:
    """OpenCV's tables: the least value becomes 0, the others their rank among the pixels above it."""
    count, channels = images_MHWC.shape[0], images_MHWC.shape[3]
    flat_MCP = images_MHWC.permute(0, 3, 1, 2).reshape(count, channels, -1).long()
    counts_MC256 = torch.zeros((count, channels, 256), dtype=torch.int32, device=images_MHWC.device)
    counts_MC256.scatter_add_(2, flat_MCP, torch.ones_like(flat_MCP, dtype=torch.int32))
    ranks_MC256 = counts_MC256.cumsum(2)
    least_MC1 = counts_MC256.gather(2, images_MHWC.amin((1, 2)).long()[..., None])
    above_MC1 = flat_MCP.shape[2] - least_MC1
    same_256 = torch.arange(256, device=images_MHWC.device, dtype=torch.float32)
    slopes_MC1 = torch.full_like(above_MC1, 255, dtype=torch.float32) / above_MC1.clamp(min=1)
    tables_MC256 = ((ranks_MC256 - least_MC1) * slopes_MC1).round_().clamp_(0, 255)
    return _look_up(images_MHWC, torch.where(above_MC1 > 0, tables_MC256, same_256).to(torch.uint8))


def _recoloured(images_MHWC: Tensor, own_M33: Tensor, mean_M33: Tensor) -> Tensor:
    """One channel is grey: all three are that."""
    channels = images_MHWC.shape[3]
    means_M3 = _means(images_MHWC).expand(-1, 3)
    values_MHWC = (mean_M33 * means_M3[:, None]).sum(2)[:, None, None, :channels].float()
    own_M33 = own_M33 if channels == 3 else own_M33.sum(2, keepdim=True)
    for channel in range(channels):  # not a matrix product, which GPUs may do at 10 bits
        weights_M11C = own_M33[:, None, None, :channels, channel].float()
        values_MHWC = torch.addcmul(values_MHWC, images_MHWC[..., channel : channel + 1].float(), weights_M11C)
    return values_MHWC.round_().clamp_(0, 255).to(torch.uint8)


def _means(images_MHWC: Tensor) -> Tensor:
    """M x C, float64; sums are whole numbers, so that their order does not matter."""
    return images_MHWC.sum((1, 2), dtype=torch.int64).double() / (images_MHWC.shape[1] * images_MHWC.shape[2])


def _erased(images_MHWC: Tensor, boxes_M4: Tensor, seeds_M: Tensor, *, fill: pixels.Fill) -> Tensor:
    top, left, height, width = boxes_M4[:, :, None, None].unbind(1)
    rows_MH1 = torch.arange(images_MHWC.shape[1], device=images_MHWC.device)[:, None] - top
    columns_M1W = torch.arange(images_MHWC.shape[2], device=images_MHWC.device) - left
    inside_MHW = (rows_MH1 >= 0) & (rows_MH1 < height) & (columns_M1W >= 0) & (columns_M1W < width)
    if fill == "noise":
        cover = _noise(rows_MH1 * width + columns_M1W, seeds_M, images_MHWC.shape[3])
    elif fill == "mean":
        cover = _means(images_MHWC).round_().to(torch.uint8)[:, None, None]
    else:
        cover = torch.zeros_like(images_MHWC[:1])
    return torch.where(inside_MHW[..., None], cover, images_MHWC)


def _noise(places_MHW: Tensor, seeds_M: Tensor, channels: int) -> Tensor:
    """The values of `pixels.noise`, in the order of the box's pixels and their channels."""
    table_B = _noise_on(places_MHW.device)
    starts_M = (seeds_M * len(table_B)).long()
    values_MHWC = places_MHW[..., None] * channels + torch.arange(channels, device=places_MHW.device)
    return table_B[torch.remainder(values_MHWC + starts_M[:, None, None, None], len(table_B))]


@lru_cache(maxsize=1)  # a rank has one device
def _noise_on(device: torch.device) -> Tensor:
    return torch.from_numpy(pixels.noise_table()).to(device)
