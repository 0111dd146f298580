"""Training that feels int8 (arXiv 1712.05877): weights and inputs are rounded, gradients pass as if they were not.

The grid is the one of the int8 file. Weights: -64 to 64, one scale for each output channel; batch normalisation that
is later folded into them scales whole channels, and the grid with them. Inputs: 256 steps from a least to a largest
value, 0 among them, a moving average of what was seen in training.
"""

# L = layers, in the order of the network; a range is (-least, largest): one maximum finds both

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from app.contract.compression import Quantization
from worker.training.attached import Attached, Course, Forward, Forwards
from worker.training.compression import Choice, Scene
from worker.training.compression._layers import EXCLUDED, computes_as_torch_does, excluded

WEIGHT_TOP = 64
"""The file uses 7 of the 8 bits: processors without VNNI add two products in 16 bits (docs/compression.md)."""
INPUT_TOP = 255
MEMORY = 0.95
"""Of a range, how much stays in a step: it has seen the last 20 steps or so."""
UNSEEN = torch.finfo(torch.float32).min
SMALLEST = torch.finfo(torch.float32).tiny
"""Of a scale: where all values are 0, so are the rounded ones."""


def build(spec: Quantization) -> "OnTheGrid":
    """See LoopMethod."""
    return OnTheGrid(spec)


@dataclass(frozen=True)
class OnTheGrid:
    spec: Quantization

    def choose(self, model: nn.Module, scene: Scene) -> Choice:
        layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
        unwanted = excluded(self.spec.exclude, layers, scene)
        return Choice({name: EXCLUDED if name in unwanted else _reason(layer) for name, layer in layers.items()})

    def attach(self, model: nn.Module, layers: Sequence[str], course: Course) -> Attached:
        if self.spec.mode == "ptq":
            return Attached()  # the network is rounded when it is trained
        first = math.ceil(self.spec.float_share * course.order.spec.training.epochs - 1e-9)
        return Feeling([model.get_submodule(name) for name in layers], first, course)


def _reason(layer: nn.Module) -> str:
    usual = type(layer).forward is nn.Linear.forward
    if isinstance(layer, nn.Conv2d):
        usual = computes_as_torch_does(layer)
    return "" if usual else f"its class {type(layer).__name__} computes its weights or its output in its own way"


class Feeling(Attached):
    """Layers that compute on the grid from an epoch on. The first step of it only looks at the ranges.

    All ranks use the same: the range of a step is that of the whole batch, and counts from the next step on.
    """

    def __init__(self, layers: Sequence[nn.Module], first_epoch: int, course: Course) -> None:
        self._first_epoch = first_epoch
        self._largest = course.largest
        self._under_way = False
        self._ranges_L2 = torch.full((len(layers), 2), UNSEEN, device=course.device)
        self._seen_L2 = self._ranges_L2.clone()
        self._called: set[int] = set()
        self._ready: set[int] = set()  # those whose ranges are known
        self._forwards = Forwards()
        for index, layer in enumerate(layers):
            self._forwards.replace(layer, partial(self._rounding, layer, index))

    def begin_step(self, epoch: int) -> None:
        self._under_way = epoch >= self._first_epoch

    def end_step(self) -> None:
        if not self._under_way:
            return
        seen_L2 = self._largest(self._seen_L2)
        older_L2 = torch.where(self._ranges_L2 == UNSEEN, seen_L2, self._ranges_L2)
        called_L2 = seen_L2 != UNSEEN
        self._ranges_L2 = torch.where(called_L2, torch.lerp(seen_L2, older_L2, MEMORY), self._ranges_L2)
        self._seen_L2 = torch.full_like(seen_L2, UNSEEN)
        self._ready |= self._called

    def state(self) -> dict[str, Tensor]:
        return {"ranges": self._ranges_L2} if self._ready else {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._ranges_L2 = state["ranges"].to(self._ranges_L2)
        self._ready = set((self._ranges_L2[:, 0] != UNSEEN).nonzero().flatten().tolist())

    def detach(self) -> None:
        self._forwards.restore()

    def _rounding(self, layer: nn.Module, index: int, forward: Forward) -> Forward:
        def run(read: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not self._under_way:
                return forward(read, *args, **kwargs)
            if layer.training:
                self._see(index, read)
            if index in self._ready:
                read = rounded_input(read, self._ranges_L2[index])
            with _rounded_weight(layer):
                return forward(read, *args, **kwargs)

        return run

    @torch.no_grad()
    def _see(self, index: int, read: Tensor) -> None:
        least, most = read.aminmax()
        self._seen_L2[index] = torch.maximum(self._seen_L2[index], torch.stack([-least, most]).float())
        self._called.add(index)


def rounded_input(values: Tensor, range_2: Tensor) -> Tensor:
    """On the grid of 256 steps from -range[0] to range[1], which is widened so that 0 is one of them."""
    reach_2 = range_2.clamp(min=0)
    scale = (reach_2.sum() / INPUT_TOP).clamp(min=SMALLEST)
    zero_point = (reach_2[0] / scale).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, INPUT_TOP)


def rounded_weight(weight: Tensor) -> Tensor:
    """On the grid from -64 to 64 of each output channel, whose largest weight is at an end of it."""
    top_O = weight.detach().flatten(1).abs().amax(1).float()
    scale_O = (top_O / WEIGHT_TOP).clamp(min=SMALLEST)
    zeros_O = torch.zeros_like(scale_O, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale_O, zeros_O, 0, -WEIGHT_TOP, WEIGHT_TOP)


@contextmanager
def _rounded_weight(layer: nn.Module) -> Iterator[None]:
    """Inside, `layer.weight` is the rounded one: an attribute of the instance goes before a parameter."""
    layer.__dict__["weight"] = rounded_weight(layer.get_parameter("weight"))
    try:
        yield
    finally:
        del layer.__dict__["weight"]
