"""A dense k x k convolution split in two: depthwise k x k, then pointwise 1x1 (MobileNet, arXiv 1704.04861).

For an H x W output the dense layer takes H W k^2 C_in C_out multiply-accumulates, the two with r filters a channel take
H W C_in r (k^2 + C_out): r / C_out + r / k^2 of it.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from app.contract.compression import DepthwiseSeparable
from worker.training.architecture import Sizes
from worker.training.compression import Choice, Scene
from worker.training.compression._layers import (
    EXCLUDED,
    READS_IMAGE,
    convolutions,
    even_scales,
    excluded,
    placed_like,
    reads_image,
    replace,
    unusual,
    with_other_convolutions,
)

ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "relu": (partial(nn.ReLU, inplace=True), 2.0),  # the normalisation before it does not need what it gave
    "silu": (nn.SiLU, 2.81),
    "none": (nn.Identity, 1.0),
}
"""And what the variance of the next weights is multiplied by: 1 / E[activation(x)^2] for a standard normal x."""

# O = output channels, C = input channels, K = positions in the kernel, R = depthwise filters a channel


class DepthwiseSeparableConv2d(nn.Sequential):
    """depthwise -> bn -> activation -> pointwise, or depthwise -> pointwise where it stands for trained weights.

    What followed the dense convolution follows the pointwise one.
    """


def build(spec: DepthwiseSeparable) -> "Split":
    """See Transformation."""
    return Split(spec)


@dataclass(frozen=True)
class Split:
    spec: DepthwiseSeparable

    def choose(self, model: nn.Module, scene: Scene) -> Choice:
        layers = convolutions(model)
        unwanted = excluded(self.spec.exclude, layers, scene)
        reasons = {name: self._reason(name, layer, name in unwanted, scene) for name, layer in layers.items()}
        return Choice(with_other_convolutions(model, reasons), exact=self._exact(layers, reasons))

    def _reason(self, name: str, layer: nn.Conv2d, unwanted: bool, scene: Scene) -> str:
        if unwanted:
            return EXCLUDED
        if max(layer.kernel_size) == 1:
            return "its kernel is 1x1"
        if not self.spec.include_stem and reads_image(name, layer, scene):
            return f"{READS_IMAGE} (include_stem is false)"
        return unusual(name, layer, scene) or self._no_gain(layer)

    def _no_gain(self, layer: nn.Conv2d) -> str:
        """With one or two channels, or many filters each, there is nothing to separate.

        Whoever asks for full rank asks for the same outputs, at whatever price.
        """
        if self.spec.init == "svd" and self.spec.rank is None:
            return ""
        normalised = 2 if self.spec.init == "random" else 0  # scale and shift of the normalisation between them
        before, filters = layer.weight.numel(), self._filters(layer)
        after = layer.in_channels * filters * (_window(layer) + normalised + layer.out_channels)
        return "" if after < before else f"it has {before} weights, its two halves would have {after}"

    def _exact(self, layers: Mapping[str, nn.Conv2d], reasons: Mapping[str, str]) -> bool:
        changing = [layers[name] for name, reason in reasons.items() if not reason]
        return self.spec.init == "svd" and all(self._filters(each) == _full_rank(each) for each in changing)

    def _filters(self, layer: nn.Conv2d) -> int:
        """How many depthwise filters each of its input channels gets."""
        if self.spec.init == "random":
            return self.spec.rank or 1
        return min(self.spec.rank or _full_rank(layer), _full_rank(layer))

    def change(self, model: nn.Module, choice: Choice) -> None:
        replace(model, choice.layers, lambda _, layer: self.convert(layer))

    def rebuild(self, model: nn.Module, layers: Sequence[str], sizes: Sizes) -> None:
        replace(model, layers, lambda _, layer: self._shaped(layer))

    def convert(self, layer: nn.Module) -> nn.Module:
        """What takes the layer's place, with the weights that it starts from."""
        split = self._shaped(layer)
        if self.spec.init == "svd" and not layer.weight.is_meta:
            _approximate(split, layer)
        return split

    def _shaped(self, layer: nn.Module) -> nn.Module:
        assert isinstance(layer, nn.Conv2d)
        activation, squared_gain = ACTIVATIONS[self.spec.activation]
        width = layer.in_channels * self._filters(layer)
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        with torch.device(layer.weight.device):
            parts["depthwise"] = placed_like(layer, layer.in_channels, width, layer.in_channels, bias=False)
            if self.spec.init == "random":
                parts["bn"], parts["activation"] = nn.BatchNorm2d(width), activation()
            parts["pointwise"] = nn.Conv2d(width, layer.out_channels, 1, bias=layer.bias is not None)
        split = DepthwiseSeparableConv2d(parts)
        _initialise(split, squared_gain)
        return split.to(layer.weight.dtype).train(layer.training)


def _window(layer: nn.Conv2d) -> int:
    return layer.kernel_size[0] * layer.kernel_size[1]


def _full_rank(layer: nn.Conv2d) -> int:
    """Of the matrix that the layer is to one of its input channels: output channels by positions in the kernel."""
    return min(_window(layer), layer.out_channels)


def _initialise(split: nn.Sequential, squared_gain: float) -> None:
    """Variance 1 after the depthwise convolution (its batch normalisation sees to that) gives variance 1 at the end."""
    depthwise, pointwise = split.get_submodule("depthwise"), split.get_submodule("pointwise")
    for conv, gain in ((depthwise, 1.0), (pointwise, squared_gain)):
        assert isinstance(conv, nn.Conv2d)
        nn.init.normal_(conv.weight, std=(gain / conv.weight[0].numel()) ** 0.5)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)


@torch.no_grad()
def _approximate(split: nn.Module, dense: nn.Module) -> None:
    """Give the two halves the weights whose product is nearest to the dense layer's, for each input channel.

    To channel c the layer is a matrix of outputs by positions, U S V^T; the r largest singular values make r depthwise
    filters sqrt(S) V^T and r columns U sqrt(S) of the pointwise part: see `even_scales`.
    """
    assert isinstance(dense, nn.Conv2d)
    depthwise, pointwise = split.get_submodule("depthwise"), split.get_submodule("pointwise")
    assert isinstance(depthwise, nn.Conv2d)
    assert isinstance(pointwise, nn.Conv2d)
    filters_CRK, columns_COR = _halves(dense.weight.detach(), depthwise.out_channels // dense.in_channels)
    depthwise.weight.copy_(filters_CRK.reshape(depthwise.weight.shape))
    pointwise.weight.copy_(columns_COR.permute(1, 0, 2).reshape(pointwise.weight.shape))
    if dense.bias is not None and pointwise.bias is not None:
        pointwise.bias.copy_(dense.bias)


def _halves(weight_OChw: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Filters (C, R, K) and columns (C, O, R), in fp64."""
    matrices_COK = weight_OChw.double().flatten(2).permute(1, 0, 2)
    left_COR, values_CR, right_CRK = torch.linalg.svd(matrices_COK, full_matrices=False)
    scale_CR = even_scales(values_CR)[:, :rank]
    columns_COR = left_COR[:, :, :rank] * (values_CR[:, :rank] / scale_CR)[:, None, :]
    return scale_CR[:, :, None] * right_CRK[:, :rank], columns_COR
