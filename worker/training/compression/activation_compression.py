"""Fewer channels in, fewer weights behind: groups of `ratio` channels are averaged and the convolution reads the means.

The average itself costs no parameters and no multiplications; the convolution behind it has 1/ratio of both. Only
convolutions are narrowed: a classifier's linear layer reads what the network concluded and is small.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from app.contract.compression import ActivationCompression
from worker.training.architecture import Sizes
from worker.training.compression import Choice, Scene
from worker.training.compression._layers import (
    EXCLUDED,
    READS_IMAGE,
    convolutions,
    excluded,
    matches,
    placed_like,
    reads_image,
    replace,
    selected,
    unusual,
    with_other_convolutions,
)
from worker.training.errors import bad_spec

# N = images, C = channels, G = groups of channels, R = channels in a group


class GroupMean(nn.Module):
    """The mean of each group of `ratio` neighbouring channels: a fixed 1x1 convolution, without its cost.

    Written as a sum of slices because that keeps channels_last: `.mean(2)` answers in the other format, and took 3.6 ms
    instead of 0.4 ms for 32x128x28x28 on 2 cores.
    """

    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, images_NCHW: Tensor) -> Tensor:
        members = images_NCHW.unflatten(1, (-1, self.ratio)).unbind(2)  # R of N, G, H, W
        return reduce(torch.add, members) / self.ratio

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}"


class LearnedGroupMean(nn.Conv2d):
    """A 1x1 convolution from all channels to the groups, which starts as the group mean."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__(channels, channels // ratio, 1, bias=False)
        mean_GC = torch.eye(channels // ratio).repeat_interleave(ratio, dim=1) / ratio
        with torch.no_grad():
            self.weight.copy_(mean_GC[:, :, None, None])


class NarrowedConv2d(nn.Sequential):
    """reduce (group means) -> conv (the original, reading 1/ratio of the channels)."""


def build(spec: ActivationCompression) -> "Narrow":
    """See Transformation."""
    return Narrow(spec)


@dataclass(frozen=True)
class Narrow:
    spec: ActivationCompression

    def choose(self, model: nn.Module, scene: Scene) -> Choice:
        layers = convolutions(model)
        unwanted = excluded(self.spec.exclude, layers, scene)
        wanted = None if self.spec.layers is None else selected(self.spec.layers, layers, f"{scene.pointer}/layers")
        reasons = {name: next(self._obstacles(name, layer, scene), "") for name, layer in layers.items()}
        self._refuse_asked_for(layers, reasons, unwanted, scene.pointer)
        for name in layers:
            if name in unwanted:
                reasons[name] = EXCLUDED
            elif wanted is not None and name not in wanted:
                reasons[name] = "not among the layers of the spec"
        return Choice(with_other_convolutions(model, reasons))

    def _obstacles(self, name: str, layer: nn.Conv2d, scene: Scene) -> Iterator[str]:
        if isinstance(layer, LearnedGroupMean):
            yield "it is itself a learned average"
        if reads_image(name, layer, scene):
            yield READS_IMAGE
        if reason := unusual(name, layer, scene):
            yield reason
        if reason := self._uneven(layer):
            yield reason
        if self.spec.where == "single_reader" and scene.flow.readers.get(name, 0) > 1:
            yield f"{scene.flow.readers[name]} operations read its input"
        if self.spec.learned and not self._pays(layer):
            yield "its learned average would have more weights than the narrower layer saves"

    def _uneven(self, layer: nn.Conv2d) -> str:
        channels, ratio = layer.in_channels, self.spec.ratio
        if channels < ratio:
            return f"its {channels} channels are fewer than the ratio of {ratio}"
        return f"its {channels} channels do not divide by {ratio}" if channels % ratio else ""

    def _pays(self, layer: nn.Conv2d) -> bool:
        saved = layer.weight.numel() - layer.weight.numel() // self.spec.ratio
        return layer.in_channels**2 // self.spec.ratio < saved

    def _refuse_asked_for(
        self, layers: Mapping[str, nn.Conv2d], reasons: Mapping[str, str], unwanted: set[str], pointer: str
    ) -> None:
        """A layer asked for by its name must be possible; one caught by a wildcard must at least divide."""
        for index, pattern in enumerate(self.spec.layers or ()):
            for name, layer in layers.items():
                asked = name == pattern or reasons[name] == self._uneven(layer)
                if matches(name, pattern) and name not in unwanted and asked and reasons[name]:
                    detail = f"{name} cannot be compressed: {reasons[name]}. Use another ratio, or name other layers."
                    raise bad_spec(f"{pointer}/layers/{index}", detail, "layer_does_not_fit")

    def change(self, model: nn.Module, choice: Choice) -> None:
        self.rebuild(model, choice.layers, choice.sizes)

    def rebuild(self, model: nn.Module, layers: Sequence[str], sizes: Sizes) -> None:
        replace(model, layers, lambda _, layer: self.convert(layer))

    def convert(self, layer: nn.Module) -> nn.Module:
        """What takes the layer's place."""
        assert isinstance(layer, nn.Conv2d)
        ratio = self.spec.ratio
        with torch.device(layer.weight.device):
            means = LearnedGroupMean(layer.in_channels, ratio) if self.spec.learned else GroupMean(ratio)
            narrowed = NarrowedConv2d(OrderedDict(reduce=means, conv=_narrow(layer, ratio)))
        return narrowed.to(layer.weight.dtype).train(layer.training)


def _narrow(layer: nn.Conv2d, ratio: int) -> nn.Conv2d:
    """The layer with its weights summed over each group: where a group's channels are equal, the outputs are too.

    That serves trained and random weights alike: the sum of `ratio` independent weights has `ratio` times their
    variance, which is what an initialisation by fan-in gives a layer that reads `ratio` times fewer channels.
    """
    narrow = placed_like(layer, layer.in_channels // ratio, layer.out_channels, groups=1, bias=layer.bias is not None)
    narrow.to(layer.weight.dtype)
    with torch.no_grad():
        narrow.weight.copy_(layer.weight.unflatten(1, (-1, ratio)).sum(2))
        if layer.bias is not None and narrow.bias is not None:
            narrow.bias.copy_(layer.bias)
    return narrow
