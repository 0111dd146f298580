"""What a layer needs for its backward pass, in less memory and yet exact: masks of 1 bit, offsets of 1 byte, shapes.

Each has `values`, which answers what torch's own backward pass takes for what was saved.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

# O = rows or columns of the output

_PLACES = 8


class Kept(Protocol):
    """A saved tensor in another form."""

    def values(self) -> Tensor:
        """As much of it as the backward pass looks at, in its shape, type, and order in memory."""


@dataclass(frozen=True)
class Layout:
    """A tensor of which only shape, type and order in memory matter; `values` has any."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> "Layout":
        return cls(tensor.shape, tensor.stride(), tensor.dtype, tensor.device)

    def values(self) -> Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)


@dataclass(frozen=True)
class Mask:
    """Where a gradient passes, 1 bit a value. `values` is 1 there and 0 elsewhere."""

    bits: Tensor
    layout: Layout

    @classmethod
    def of(cls, passes: Tensor, saved: Tensor) -> "Mask":
        """`passes` is boolean, and lies in memory as `saved` does, densely."""
        flat = passes.as_strided((passes.numel(),), (1,))
        return cls(_packed(flat), Layout.of(saved) if saved.stride() == passes.stride() else Layout.of(passes))

    def values(self) -> Tensor:
        layout = self.layout
        flat = _unpacked(self.bits, layout.shape.numel())
        return flat.to(layout.dtype).as_strided(layout.shape, layout.stride)


@dataclass(frozen=True)
class Offsets:
    """Where in its window a pooling found each maximum: 1 byte instead of 8."""

    offsets_NCOO: Tensor
    width: int  # of the input
    window: "Window"

    @classmethod
    def of(cls, places_NCOO: Tensor, input_width: int, window: "Window") -> "Offsets":
        """From each maximum's place among all pixels of its channel, counted row by row."""
        rows, columns = places_NCOO // input_width, places_NCOO % input_width
        top_O1, left_O = window.corners(places_NCOO)
        down, right = (rows - top_O1) // window.dilation[0], (columns - left_O) // window.dilation[1]
        return cls((down * window.kernel[1] + right).to(torch.uint8), input_width, window)

    def values(self) -> Tensor:
        offsets_NCOO = self.offsets_NCOO.long()
        down, right = offsets_NCOO // self.window.kernel[1], offsets_NCOO % self.window.kernel[1]
        top_O1, left_O = self.window.corners(offsets_NCOO)
        rows, columns = top_O1 + down * self.window.dilation[0], left_O + right * self.window.dilation[1]
        return rows * self.width + columns


@dataclass(frozen=True)
class Window:
    """Of a pooling: height and width of each."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, pool: nn.MaxPool2d) -> "Window":
        """Where torch takes one number for both."""
        return cls(*(_pair(each) for each in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)))

    @property
    def positions(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def corners(self, outputs_NCOO: Tensor) -> tuple[Tensor, Tensor]:
        """The row and the column of the input, possibly negative, at which each output's window begins."""
        height, width = outputs_NCOO.shape[-2:]
        rows_O1 = torch.arange(height, device=outputs_NCOO.device)[:, None] * self.stride[0] - self.padding[0]
        return rows_O1, torch.arange(width, device=outputs_NCOO.device) * self.stride[1] - self.padding[1]


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _packed(flags: Tensor) -> Tensor:
    """Eight flags a byte; NumPy has a kernel for it, which takes a tenth of the time."""
    if flags.device.type == "cpu":
        return torch.from_numpy(np.packbits(flags.numpy()))
    padded = torch.nn.functional.pad(flags.view(torch.uint8), (0, -len(flags) % _PLACES)).view(-1, _PLACES)
    return (padded << _shifts(flags.device)).sum(1, dtype=torch.uint8)


def _unpacked(packed: Tensor, count: int) -> Tensor:
    if packed.device.type == "cpu":
        return torch.from_numpy(np.unpackbits(packed.numpy(), count=count))
    return (packed[:, None] >> _shifts(packed.device) & 1).flatten()[:count]


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(_PLACES - 1, -1, -1, dtype=torch.uint8, device=device)
