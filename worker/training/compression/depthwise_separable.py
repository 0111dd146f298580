"""A dense k x k convolution split in two: depthwise k x k, then pointwise 1x1 (MobileNet, arXiv 1704.04861).

For an H x W output the dense layer takes H W k^2 C_in C_out multiply-accumulates, the two take H W C_in (k^2 + C_out):
1/C_out + 1/k^2 of it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from app.contract.compression import DepthwiseSeparable
from worker.training.architecture import Sizes
from worker.training.compression import Choice, Scene
from worker.training.compression._layers import (
    EXCLUDED,
    READS_IMAGE,
    convolutions,
    placed_like,
    reads_image,
    replace,
    selected,
    unusual,
)

ACTIVATIONS: dict[str, tuple[type[nn.Module], float]] = {
    "relu": (nn.ReLU, 2.0),
    "silu": (nn.SiLU, 2.81),
    "none": (nn.Identity, 1.0),
}
"""And what the variance of the next weights is multiplied by: 1 / E[activation(x)^2] for a standard normal x."""


class DepthwiseSeparableConv2d(nn.Sequential):
    """depthwise -> bn -> activation -> pointwise. What followed the dense convolution follows the pointwise one."""


def build(spec: DepthwiseSeparable) -> "Split":
    """See Transformation."""
    return Split(spec)


@dataclass(frozen=True)
class Split:
    spec: DepthwiseSeparable

    def choose(self, model: nn.Module, scene: Scene) -> Choice:
        layers = convolutions(model)
        unwanted = selected(self.spec.exclude, layers, f"{scene.pointer}/exclude")
        return Choice({name: self._reason(name, layer, name in unwanted, scene) for name, layer in layers.items()})

    def _reason(self, name: str, layer: nn.Conv2d, unwanted: bool, scene: Scene) -> str:
        if unwanted:
            return EXCLUDED
        if max(layer.kernel_size) == 1:
            return "its kernel is 1x1"
        if not self.spec.include_stem and reads_image(name, layer, scene):
            return f"{READS_IMAGE} (include_stem is false)"
        return unusual(name, layer, scene) or _no_gain(layer)

    def change(self, model: nn.Module, choice: Choice) -> None:
        self.rebuild(model, choice.layers, choice.sizes)

    def rebuild(self, model: nn.Module, layers: Sequence[str], sizes: Sizes) -> None:
        replace(model, layers, lambda _, layer: self.convert(layer))

    def convert(self, layer: nn.Module) -> nn.Module:
        """What takes the layer's place."""
        assert isinstance(layer, nn.Conv2d)
        activation, squared_gain = ACTIVATIONS[self.spec.activation]
        with torch.device(layer.weight.device):
            split = DepthwiseSeparableConv2d(
                OrderedDict(
                    depthwise=placed_like(layer, layer.in_channels, layer.in_channels, layer.in_channels, bias=False),
                    bn=nn.BatchNorm2d(layer.in_channels),
                    activation=activation(),
                    pointwise=nn.Conv2d(layer.in_channels, layer.out_channels, 1, bias=layer.bias is not None),
                )
            )
        _initialise(split, squared_gain)
        return split.to(layer.weight.dtype).train(layer.training)


def _no_gain(layer: nn.Conv2d) -> str:
    """With one or two channels there is nothing to separate."""
    window = layer.kernel_size[0] * layer.kernel_size[1]
    before = layer.weight.numel()
    after = layer.in_channels * (window + 2 + layer.out_channels)  # 2: the batch normalisation between them
    return "" if after < before else f"it has {before} weights, its two halves would have {after}"


def _initialise(split: nn.Sequential, squared_gain: float) -> None:
    """Variance 1 after the depthwise convolution (its batch normalisation sees to that) gives variance 1 at the end."""
    depthwise, pointwise = split.get_submodule("depthwise"), split.get_submodule("pointwise")
    for conv, gain in ((depthwise, 1.0), (pointwise, squared_gain)):
        assert isinstance(conv, nn.Conv2d)
        nn.init.normal_(conv.weight, std=(gain / conv.weight[0].numel()) ** 0.5)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
