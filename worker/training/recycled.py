"""Memory of large tensors that is used again as soon as no tensor looks at it.

Memory beyond 32 MiB goes back to the system when it is freed (glibc maps it), and each new page of it costs a fault:
for a batch of 64 images at 224 in float32 that was 110 faults an image, and more time than the arithmetic.
"""

import sys
import threading
from math import prod

import numpy as np
import numpy.typing as npt
import torch

_ALIGNMENT = 64  # bytes: a line of the processor's cache, as torch's own memory has it


class Recycled:
    """Gives memory on the CPU. Thread-safe."""

    def __init__(self, most: int = 4) -> None:
        """`most`: pieces that are kept, those in use and what comes next."""
        self._most = most
        self._kept: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor of the shape, with values left over from whatever it held before."""
        needed = prod(shape) * dtype.itemsize
        with self._lock:
            memory = self._idle(needed)
            return torch.from_numpy(memory)[:needed].view(dtype).view(shape)

    def _idle(self, needed: int) -> npt.NDArray[np.uint8]:
        for memory in self._kept:
            if needed <= len(memory) <= 2 * needed and sys.getrefcount(memory) <= _UNUSED:
                return memory
        self._kept[:] = self._kept[-(self._most - 1) :]  # what leaves lives on as long as its tensors
        self._kept.append(_aligned(needed))
        return self._kept[-1]


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]


def _references() -> int:
    """References to an array in a list that a loop looks at, and nobody else: as `_idle` counts them."""
    for memory in [_aligned(1)]:
        return sys.getrefcount(memory)
    raise AssertionError


_UNUSED = _references()
"""A tensor made of an array, and any view of it, holds one more."""
