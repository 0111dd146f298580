"""Small arrays to a device: many of them in one copy that the host does not wait for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_ALIGNED = 16  # bytes: each array begins where any type may lie

_TYPES = {
    np.dtype(np.uint8): torch.uint8,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.float32): torch.float32,
    np.dtype(np.float64): torch.float64,
}


def send(arrays: Sequence[npt.NDArray[Any]], device: torch.device) -> list[torch.Tensor]:
    """The arrays as tensors of the same shapes and types. A copy from page-locked memory never waits for the device."""
    starts = np.cumsum([0, *(-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays)])
    packed_B = torch.empty(int(starts[-1]), dtype=torch.uint8, pin_memory=device.type == "cuda")
    host_B = packed_B.numpy()
    for start, array in zip(starts, arrays, strict=False):
        host_B[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    sent_B = packed_B.to(device, non_blocking=True)
    return [_viewed(sent_B, int(start), array) for start, array in zip(starts, arrays, strict=False)]


def _viewed(sent_B: torch.Tensor, start: int, array: npt.NDArray[Any]) -> torch.Tensor:
    return sent_B[start : start + array.nbytes].view(_TYPES[array.dtype]).reshape(array.shape)
