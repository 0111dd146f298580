"""Activations in fewer bits: rounded between the least and the largest value of each group (ActNN, arXiv 2104.14129).

A group is 256 numbers that lie beside each other in memory. Rounding is to the nearest, not stochastic: measured, that
gives the smaller error of the gradients (docs/experiments.md), and it needs no random numbers, so that a resumed run
computes the same bits.
"""

# G = groups, V = values of a group, B = bytes that hold a group's codes

from dataclasses import dataclass

import torch
from torch import Tensor

GROUP = 256
_KERNELS = {8: "embedding_bag_byte", 4: "embedding_bag_4bit", 2: "embedding_bag_2bit"}


@dataclass(frozen=True, eq=False)
class Codes:
    """A tensor in `bits` a value, and 4 bytes (8 with 8 bits) a group for its least value and its step."""

    codes_GB: Tensor
    ranges_G2: Tensor | None  # null: they stand behind the codes of each group
    bits: int
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    source: object = None
    """Held as long as the codes are."""

    @classmethod
    def of(cls, values: Tensor, bits: int, source: object = None) -> "Codes":
        """Values of any shape and of any floating type."""
        flat = _as_it_lies(values)
        rows_GV = _rows(flat)
        by_kernel = values.device.type == "cpu" and (bits == 8 or _fit_fp16(rows_GV))
        codes, ranges = _cpu_codes(rows_GV, bits) if by_kernel else _codes(rows_GV, bits)
        return cls(codes, ranges, bits, flat.shape, flat.stride(), values.dtype, source)

    def values(self) -> Tensor:
        """As they were, but for the rounding: shape, type, and order in memory."""
        if self.ranges_G2 is None:
            rows_GV = _cpu_values(self.codes_GB, self.bits)
        else:
            rows_GV = _values(self.codes_GB, self.ranges_G2, self.bits)
        flat = rows_GV.flatten()[: self.shape.numel()]
        return flat.to(self.dtype).as_strided(self.shape, self.stride)


def _as_it_lies(values: Tensor) -> Tensor:
    """Dense in memory, channels last where it is."""
    if values.is_contiguous() or (values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)):
        return values
    return values.contiguous()


def _rows(dense: Tensor) -> Tensor:
    """In the order of memory, in fp32; the last group is filled up with its last value."""
    flat = dense.as_strided((dense.numel(),), (1,), dense.storage_offset()).float()
    missing = -len(flat) % GROUP
    if missing:
        flat = torch.cat([flat, flat[-1:].expand(missing)])
    return flat.view(-1, GROUP)


def _codes(rows_GV: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    top = 2**bits - 1
    least_G1, most_G1 = (each[:, None] for each in rows_GV.aminmax(dim=1))
    step_G1 = (most_G1 - least_G1) / top
    numbers_GV = ((rows_GV - least_G1) / step_G1.clamp(min=torch.finfo(torch.float32).tiny)).round_().to(torch.uint8)
    each = 8 // bits
    codes_GB = numbers_GV[:, ::each]
    for place in range(1, each):
        codes_GB = codes_GB | numbers_GV[:, place::each] << bits * place
    return codes_GB.contiguous(), torch.cat([step_G1, least_G1], 1)


def _values(codes_GB: Tensor, ranges_G2: Tensor, bits: int) -> Tensor:
    each = 8 // bits
    numbers = [codes_GB >> bits * place & 2**bits - 1 for place in range(each)]
    numbers_GV = torch.stack(numbers, 2).flatten(1) if each > 1 else codes_GB
    return torch.addcmul(ranges_G2[:, 1:], numbers_GV.float(), ranges_G2[:, :1])


def _fit_fp16(rows_GV: Tensor) -> bool:
    """The kernels of 4 and 2 bits keep the least value and the step of a group in fp16.

    That must be no infinity, none of the few numbers below 2^-14, and exact to a part of the step.
    """
    least, most = map(float, rows_GV.aminmax())
    largest = max(-least, most)
    return largest < 60_000 and most - least > max(0.001, largest / 30)


def _cpu_codes(rows_GV: Tensor, bits: int) -> tuple[Tensor, None]:
    """torch has kernels for it, made for the rows of embeddings: a fifteenth of the time of the same in operators."""
    return getattr(torch.ops.quantized, f"{_KERNELS[bits]}_prepack")(rows_GV), None


def _cpu_values(codes_GB: Tensor, bits: int) -> Tensor:
    values_GV: Tensor = getattr(torch.ops.quantized, f"{_KERNELS[bits]}_unpack")(codes_GB)
    return values_GV
