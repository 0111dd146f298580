"""One bilinear tap for every pixel of a batch, out of packed images of any sizes."""

import numpy as np
import torch
from torch import Tensor

from worker.training.batched.sources import Sources, Whole
from worker.training.batched.transfer import send
from worker.training.geometry import Size

# N = images, P = packed pixels, H W = height and width of the output, C = channels


def warp(sources: Sources, size: Size) -> Tensor:
    """N x H x W x C, uint8, on the device of the sources' pixels. `size` is (H, W)."""
    device = sources.pixels_PC.device
    lies_N2 = _one_behind_the_other(sources.sizes_N2) if sources.places_N2 is None else sources.places_N2
    borders_N = np.array(sources.borders, dtype=object)
    numbers = [sources.maps_N23, sources.sizes_N2.astype(np.float64), borders_N == "constant", borders_N == "replicate"]
    packed_ND = np.concatenate([number.reshape(len(lies_N2), -1) for number in numbers], axis=1).astype(np.float32)
    packed, lies = send([packed_ND, lies_N2], device)
    xx, xy, x0, yx, yy, y0, height, width, black, repeated = packed[:, :, None, None].unbind(1)
    columns_W = torch.arange(size[1], device=device, dtype=torch.float32)
    rows_H1 = torch.arange(size[0], device=device, dtype=torch.float32)[:, None]
    x_NHW = xx * columns_W + (xy * rows_H1 + x0)
    y_NHW = yx * columns_W + (yy * rows_H1 + y0)
    clamped = repeated if "replicate" in sources.borders else None
    places = _inside(x_NHW, width, clamped), _inside(y_NHW, height, clamped)
    values_NHWC = _tap(sources.pixels_PC, lies[:, :, None, None], places, (width, height))
    if "constant" in sources.borders:
        values_NHWC *= torch.lerp(torch.ones_like(x_NHW), _covered(x_NHW, width) * _covered(y_NHW, height), black)[
            ..., None
        ]
    return values_NHWC.round_().to(torch.uint8)


def _one_behind_the_other(sizes_N2: Whole) -> Whole:
    """The first pixel of each part, and the pixels from row to row."""
    areas_N = sizes_N2.prod(axis=1)
    return np.stack([np.cumsum(areas_N) - areas_N, sizes_N2[:, 1]], axis=-1)


def _inside(at_NHW: Tensor, length_N11: Tensor, clamped_N11: Tensor | None) -> Tensor:
    """Places beyond the image brought back: mirrored at its edges, or to the nearest pixel where `clamped` is 1.

    A bilinear tap at the mirrored place is the mirrored image's tap. Where the border is black, `_covered` decides.
    """
    turn_NHW = torch.remainder(at_NHW + 0.5, 2 * length_N11)
    mirrored_NHW = torch.minimum(turn_NHW, 2 * length_N11 - turn_NHW) - 0.5
    if clamped_N11 is not None:
        mirrored_NHW = torch.where(clamped_N11 > 0, at_NHW, mirrored_NHW)
    return torch.minimum(mirrored_NHW.clamp_(min=0), length_N11 - 1)


def _covered(at_NHW: Tensor, length_N11: Tensor) -> Tensor:
    """The share of a tap along one axis that falls on pixels of the image and not on black ones."""
    return torch.minimum(at_NHW + 1, length_N11 - at_NHW).clamp_(0, 1)


def _tap(
    pixels_PC: Tensor, lies_N211: Tensor, places_NHW: tuple[Tensor, Tensor], sizes_N11: tuple[Tensor, Tensor]
) -> Tensor:
    """The weighted mean of the four pixels around each place (x, y), as float32. Places lie inside their images."""
    (x_NHW, y_NHW), (width, height) = places_NHW, sizes_N11
    left_NHW, top_NHW = x_NHW.floor(), y_NHW.floor()
    starts, stride = lies_N211.unbind(1)
    first_NHW = torch.addcmul(starts + left_NHW.long(), top_NHW.long(), stride)
    right_NHW = (left_NHW < width - 1).long()  # to the next column, unless this is the last
    below_NHW = (top_NHW < height - 1).long() * stride
    shape = (*x_NHW.shape, pixels_PC.shape[1])

    def read(index_NHW: Tensor) -> Tensor:
        return pixels_PC.index_select(0, index_NHW.reshape(-1)).reshape(shape).float()

    share_x, share_y = (x_NHW - left_NHW)[..., None], (y_NHW - top_NHW)[..., None]
    upper_NHWC = torch.lerp(read(first_NHW), read(first_NHW + right_NHW), share_x)
    first_NHW = first_NHW + below_NHW
    lower_NHWC = torch.lerp(read(first_NHW), read(first_NHW + right_NHW), share_x)
    return torch.lerp(upper_NHWC, lower_NHWC, share_y)
