"""Copies of a training's state in host memory, from which checkpoints are written while training goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Path = tuple[Any, ...]


@dataclass
class HostCopy:
    """Copies trees of tensors and plain values, one after another, into the same memory.

    The first copy of a ResNet-50 with its moments takes 300 MB of new memory, and giving that out page by page takes
    longer than to fill it. From a device the memory is pinned, and the host waits once for all tensors.
    """

    _kept: dict[Path, Tensor] = field(default_factory=dict)

    def of(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """A copy that shares nothing with the original. It lasts until the next one is made."""
        used: dict[Path, Tensor] = {}
        copied: dict[str, Any] = self._copy((), tree, used)
        self._kept = used
        if any(tensor.is_pinned() for tensor in used.values()):
            torch.cuda.synchronize()
        return copied

    def give_away(self, part: str, in_return: Mapping[str, Tensor] | None) -> None:
        """The last copy's `part`, a flat one, now lasts for ever; what is given in return is written over."""
        for path in [path for path in self._kept if path[0] == part]:
            del self._kept[path]
        if in_return is not None:
            self._kept.update({(part, name): tensor for name, tensor in in_return.items()})

    def _copy(self, path: Path, value: Any, used: dict[Path, Tensor]) -> Any:
        if isinstance(value, Tensor):
            used[path] = self._filled(path, value.detach())
            return used[path]
        if isinstance(value, dict):
            return {key: self._copy((*path, key), each, used) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._copy((*path, index), each, used) for index, each in enumerate(value))
        return value

    def _filled(self, path: Path, tensor: Tensor) -> Tensor:
        buffer = self._kept.get(path)
        if buffer is None or not _fits(buffer, tensor):
            buffer = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
        return buffer.copy_(tensor, non_blocking=tensor.is_cuda)


def _fits(buffer: Tensor, tensor: Tensor) -> bool:
    """Laid out in the same way, too: what is loaded from it is then laid out as it was."""
    return buffer.dtype == tensor.dtype and buffer.shape == tensor.shape and buffer.stride() == tensor.stride()
