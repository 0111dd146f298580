"""What autograd keeps for the backward pass, in fewer bits (ActNN, arXiv 2104.14129; GACT, arXiv 2206.11357).

The forward pass is exact: only what a layer saves is changed, by the hooks that autograd has for it, so that the layers
themselves stay torch's own. A tensor that several layers read is kept once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from app.contract.compression import SavedActivations
from worker.training.attached import Attached, Course, Forward, Forwards
from worker.training.compression import Choice, Scene
from worker.training.compression._groups import GROUP, Codes
from worker.training.compression._kept import Kept, Layout, Mask, Offsets, Window
from worker.training.compression._layers import EXCLUDED, READS_IMAGE, computes_as_torch_does, excluded
from worker.training.libraries import BatchNormAct2d

Keep = Callable[[nn.Module, Tensor, Tensor], Kept | Tensor]
"""From a layer, its input, and a tensor that it saves."""

SAVES_LITTLE = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d)


def build(spec: SavedActivations) -> "FewerBits":
    """See LoopMethod."""
    return FewerBits(spec)


@dataclass(frozen=True)
class FewerBits:
    spec: SavedActivations

    def choose(self, model: nn.Module, scene: Scene) -> Choice:
        layers = {name: module for name, module in model.named_modules() if _may_save(module)}
        unwanted = excluded(self.spec.exclude, layers, scene)
        return Choice({name: self._reason(name, layer, name in unwanted, scene) for name, layer in layers.items()})

    def _reason(self, name: str, layer: nn.Module, unwanted: bool, scene: Scene) -> str:
        if unwanted:
            return EXCLUDED
        if _way(layer) is None:
            return f"what a {type(layer).__name__} saves is not covered"
        return f"{READS_IMAGE}, which is there anyway" if name in scene.flow.reads_image else ""

    def attach(self, model: nn.Module, layers: Sequence[str], course: Course) -> Attached:
        return Rounded(self.spec.bits, [model.get_submodule(name) for name in layers])


def _may_save(layer: nn.Module) -> bool:
    """Single layers, and batch normalisation that has its activation inside."""
    single = not any(True for _ in layer.children())
    return isinstance(layer, BatchNormAct2d) or (single and not isinstance(layer, SAVES_LITTLE))


def _way(layer: nn.Module) -> str | None:
    """How what a layer saves is kept; null where it stays as it is. A subclass may compute anything."""
    if isinstance(layer, nn.Conv2d):
        return "codes" if computes_as_torch_does(layer) else None
    if isinstance(layer, nn.MaxPool2d) and Window.of(layer).positions > MOST_POSITIONS:
        return None
    return WAYS.get(type(layer))


MOST_POSITIONS = 256
WAYS: Mapping[type[nn.Module], str] = {
    nn.BatchNorm2d: "codes",
    BatchNormAct2d: "codes",
    nn.SiLU: "codes",
    nn.GELU: "codes",
    nn.ReLU: "mask",
    nn.ReLU6: "mask6",
    nn.MaxPool2d: "offsets",
    nn.AvgPool2d: "layout",
    nn.AdaptiveAvgPool2d: "layout",
}


class Rounded(Attached):
    """Layers whose saved tensors are kept in fewer bits."""

    unpacked = 1

    def __init__(self, bits: int, layers: Sequence[nn.Module]) -> None:
        self._bits = bits
        self._forwards = Forwards()
        self._codes: WeakValueDictionary[tuple[Any, ...], Codes] = WeakValueDictionary()
        ways: dict[str, Keep] = {"codes": self._rounded, "mask": _mask, "mask6": _mask6, "offsets": _offsets, "layout": _layout}  # fmt: skip  # noqa: E501
        covered = set(layers)
        for layer in layers:
            self._forwards.replace(layer, partial(_saving, layer, ways[_way(layer) or ""]))
            for inside in set(layer.modules()) - covered:
                self._forwards.replace(inside, partial(_saving, inside, _as_it_is))

    def detach(self) -> None:
        self._forwards.restore()

    def _rounded(self, layer: nn.Module, read: Tensor, saved: Tensor) -> Kept | Tensor:
        """Activations are rounded; weights, statistics and what is small stay."""
        if not saved.is_floating_point() or saved.ndim < 3 or saved.numel() < GROUP or _is_weight(layer, saved):
            return saved
        source = read if read.shape == saved.shape else saved  # autocast gives each reader a copy of its own
        storage = source.untyped_storage()
        key = (storage._cdata, source._version, source.storage_offset(), source.stride(), saved.dtype, saved.shape)
        codes = self._codes.get(key)
        if codes is None:
            codes = Codes.of(saved.detach(), self._bits, StorageWeakRef(storage))
            self._codes[key] = codes
        return codes


def _saving(layer: nn.Module, keep: Keep, forward: Forward) -> Forward:
    def run(read: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(read, *args, **kwargs)
        reading = [read]  # autograd holds the hook as long as what it saved: the input must not hang on it
        with saved_tensors_hooks(lambda saved: keep(layer, reading[0], saved), _values):
            try:
                return forward(read, *args, **kwargs)
            finally:
                reading.clear()

    return run


def _values(kept: Any) -> Tensor:
    found: Tensor = kept if isinstance(kept, Tensor) else kept.values()
    return found


def _is_weight(layer: nn.Module, saved: Tensor) -> bool:
    """The layer's own, or what autocast made of it."""
    weight = getattr(layer, "weight", None)
    return weight is not None and weight.shape == saved.shape


def _as_it_is(layer: nn.Module, read: Tensor, saved: Tensor) -> Tensor:
    return saved


def _mask(layer: nn.Module, read: Tensor, saved: Tensor) -> Kept:
    """Of ReLU's output: backward asks only whether it is above 0."""
    return Mask.of(_dense(saved) > 0, saved)


def _mask6(layer: nn.Module, read: Tensor, saved: Tensor) -> Kept:
    """Of ReLU6's input: backward asks only whether it lies between the two."""
    dense = _dense(saved)
    return Mask.of((dense > 0) & (dense < 6), saved)


def _offsets(layer: nn.Module, read: Tensor, saved: Tensor) -> Kept:
    assert isinstance(layer, nn.MaxPool2d)
    if saved.is_floating_point():
        return Layout.of(saved)
    return Offsets.of(saved, read.shape[-1], Window.of(layer))


def _layout(layer: nn.Module, read: Tensor, saved: Tensor) -> Kept:
    """Averages do not depend on the values averaged."""
    return Layout.of(saved)


def _dense(saved: Tensor) -> Tensor:
    """Without gaps in memory."""
    saved = saved.detach()
    return saved if saved.numel() == saved.untyped_storage().nbytes() // saved.element_size() else saved.contiguous()
