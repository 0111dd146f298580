"""A copy of a network to trace and to try changes on: same modules, no memory, each layer one operation."""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from worker.training.compression._cut import LAYERS, channels
from worker.training.compression.activation_compression import GroupMean, NarrowedConv2d
from worker.training.compression.low_rank import LowRankConv2d


def skeleton(model: nn.Module) -> nn.Module:
    """A copy on the meta device, in evaluation mode. The weights are never copied."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"))
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo).eval()


@dataclass
class Traceable:
    """A skeleton for torch-pruning: each layer shows as one node of autograd's graph, whatever it computes inside."""

    model: nn.Module
    ratios: dict[str, int]
    """Of convolutions behind a group mean. They show as if they read all channels: the mean is then no riddle."""
    calls: Counter[str] = field(default_factory=Counter)
    """How often each layer was called, counted when the network runs."""
    positions: dict[str, int] = field(default_factory=dict)
    """At how many places of one image each layer is applied: its MACs are so many times its weights."""


def traceable(model: nn.Module) -> Traceable:
    """A copy of `model` to be run once."""
    copied = skeleton(model)
    means = {
        f"{name}.{reader}": (module[0], module[0].ratio)
        for name, module in copied.named_modules()
        if isinstance(module, NarrowedConv2d) and isinstance(module[0], GroupMean) and (reader := _reader(module[1]))
    }
    ratios = {name: ratio for name, (_, ratio) in means.items()}
    traced = Traceable(copied, ratios)
    for name, module in list(copied.named_modules()):
        if isinstance(module, LAYERS):
            computes = _behind_mean(means[name][0], module) if name in means else module.forward
            module.forward = _one_node(name, computes, traced)  # type: ignore[method-assign]
    for name, ratio in ratios.items():
        conv = copied.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        conv.in_channels *= ratio  # what torch-pruning believes
    return traced


def image(model: nn.Module, channels: int, image_size: Sequence[int]) -> Tensor:
    """A blank one for a skeleton. It needs a gradient: that is how the graph is found."""
    dtype = next(model.parameters()).dtype
    return torch.zeros(1, channels, *image_size, dtype=dtype, device="meta", requires_grad=True)


class _Through(torch.autograd.Function):
    """From an input to an output of some shape, with nothing in between."""

    @staticmethod
    def forward(_context: Any, images: Tensor, shape: torch.Size) -> Tensor:  # type: ignore[override]
        return images.new_empty(shape)


def _one_node(name: str, forward: Callable[..., Tensor], traced: Traceable) -> Callable[..., Tensor]:
    layer = traced.model.get_submodule(name)
    outputs, _ = channels(layer)

    def through(images: Tensor, *others: Any, **options: Any) -> Tensor:
        with torch.no_grad():
            shape = forward(images.detach(), *others, **options).shape
        traced.calls[name] += 1
        traced.positions[name] = shape.numel() // outputs
        return _Through.apply(images, shape)  # type: ignore[no-any-return,no-untyped-call]

    return through


def _reader(behind: nn.Module) -> str:
    """The convolution that reads a group mean, by its name in the narrowed one.

    Empty where a later method has split it otherwise: the mean then shows as it is, and no channel is followed through.
    """
    match behind:
        case LowRankConv2d() if isinstance(behind.get_submodule("reduce"), nn.Conv2d):
            return "conv.reduce"
        case nn.Conv2d():
            return "conv"
    return ""


def _behind_mean(mean: nn.Module, conv: nn.Module) -> Callable[..., Tensor]:
    """The group mean moves into the convolution behind it."""
    average, convolve = mean.forward, conv.forward
    mean.forward = lambda images: images  # type: ignore[method-assign]
    return lambda images: convolve(average(images))
