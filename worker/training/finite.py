"""Whether a state that is to be saved holds numbers only."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch


def all_finite(value: Any) -> bool:
    """Whether a tree of tensors and plain values holds neither NaN nor infinity in any tensor.

    The least and the largest value tell both, in a tenth of the time of looking at each: 15 ms instead of 175 for the
    77 million numbers of a ResNet-50 and its moments on two cores. The host waits once for each device.
    """
    found: dict[torch.device, list[torch.Tensor]] = defaultdict(list)
    for tensor in _tensors(value):
        if tensor.is_floating_point() and tensor.numel():
            found[tensor.device] += _as_it_lies(tensor.detach()).aminmax()
    return all(bool(torch.stack([each.double() for each in ends]).isfinite().all()) for ends in found.values())


def _as_it_lies(tensor: torch.Tensor) -> torch.Tensor:
    """In the order of memory. `aminmax` first copies a tensor with channels last: 27 to 160 ms in place of 15."""
    channels_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.permute(0, 2, 3, 1) if channels_last else tensor


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Of a tree."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
