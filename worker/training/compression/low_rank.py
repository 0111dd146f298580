"""A linear layer or 1x1 convolution of m outputs and n inputs, in two through r values: r (m + n) weights, not m n.

The r largest singular values of its weights make the closest two of that size (Eckart and Young, 1936). It pays where
r < m n / (m + n).

Singular vectors are taken as eigenvectors of W^T W, in fp64: the projection on them is as exact, and for a 1024 x 4096
layer a small part of the time.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.contract.compression import LowRank
from worker.training.architecture import Sizes
from worker.training.compression import Choice, Scene
from worker.training.compression._layers import (
    EXCLUDED,
    even_scales,
    excluded,
    placed_like,
    replace,
    unusual,
    with_other_convolutions,
)

Layer = nn.Linear | nn.Conv2d

# M = outputs, N = inputs, L and S = the larger and the smaller of the two, R = rank


class LowRankLinear(nn.Sequential):
    """reduce (to the rank) -> expand (with the original's bias)."""


class LowRankConv2d(nn.Sequential):
    """reduce (to the rank, with the original's stride and padding) -> expand (with its bias)."""


def build(spec: LowRank) -> "Factored":
    """See Transformation."""
    return Factored(spec)


@dataclass(frozen=True)
class Factored:
    spec: LowRank

    def choose(self, model: nn.Module, scene: Scene) -> Choice:
        """On the meta device the singular values are taken as equal: no weights need a higher rank for an energy."""
        layers = {name: module for name, module in model.named_modules() if isinstance(module, Layer)}
        unwanted = excluded(self.spec.exclude, layers, scene)
        heads = set() if self.spec.include_classifier else _classifiers(model)
        reasons: dict[str, str] = {}
        sizes: dict[str, tuple[int, ...]] = {}
        for name, layer in layers.items():
            reasons[name] = EXCLUDED if name in unwanted else _unfit(name, layer, layer in heads, scene)
            if not reasons[name]:
                rank = self._rank(layer)
                reasons[name] = _no_gain(layer, rank)
                sizes[name] = (rank,)
        return Choice(
            with_other_convolutions(model, reasons),
            {name: size for name, size in sizes.items() if not reasons[name]},
        )

    def _rank(self, layer: Layer) -> int:
        if self.spec.energy is None:
            assert self.spec.rank is not None
            return min(self.spec.rank, *layer.weight.shape[:2])
        return rank_of_energy(_squared_singular_values(layer), self.spec.energy)

    def change(self, model: nn.Module, choice: Choice) -> None:
        replace(model, choice.layers, lambda name, layer: self.convert(layer, *choice.sizes[name]))

    def rebuild(self, model: nn.Module, layers: Sequence[str], sizes: Sizes) -> None:
        replace(model, layers, lambda name, layer: _shaped(layer, *sizes[name]))

    def convert(self, layer: nn.Module, rank: int) -> nn.Module:
        """What takes the layer's place, with the weights that it starts from."""
        shaped = _shaped(layer, rank)
        if not layer.weight.is_meta:
            _approximate(shaped, layer)
        return shaped


def rank_of_energy(squares_R: Tensor, energy: float) -> int:
    """How many of the squared singular values, largest first, make up `energy` of their sum; at least 1.

    In fp64, and short of the last digits, so that machines which round differently agree.
    """
    enough = energy * float(squares_R.sum()) * (1 - 1e-9)
    return 1 + int((squares_R.cumsum(0) < enough).sum().clamp(max=len(squares_R) - 1))


def _squared_singular_values(layer: Layer) -> Tensor:
    weight_MN = layer.weight.detach().flatten(1)
    if weight_MN.is_meta:
        return torch.ones(min(weight_MN.shape), dtype=torch.float64)
    tall_LS = _tall(weight_MN.double())
    return torch.linalg.eigvalsh(tall_LS.T @ tall_LS).flip(0).clamp(min=0)


def _tall(weight_MN: Tensor) -> Tensor:
    """With its longer side first."""
    return weight_MN if weight_MN.shape[0] >= weight_MN.shape[1] else weight_MN.T


def _classifiers(model: nn.Module) -> set[nn.Module]:
    """The layers that give the scores, as timm's networks name them."""
    found = model.get_classifier() if hasattr(model, "get_classifier") else ()  # type: ignore[operator]
    heads = found if isinstance(found, tuple) else (found,)
    return {module for head in heads if isinstance(head, nn.Module) for module in head.modules()}


def _unfit(name: str, layer: Layer, classifies: bool, scene: Scene) -> str:
    if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1:
        return f"its kernel is {layer.kernel_size[0]}x{layer.kernel_size[1]}"
    if classifies:
        return "it gives the scores (include_classifier is false)"
    return unusual(name, layer, scene)


def _no_gain(layer: Layer, rank: int) -> str:
    outputs, inputs = layer.weight.shape[:2]
    before, after = outputs * inputs, rank * (outputs + inputs)
    return "" if after < before else f"it has {before} weights, its two halves of rank {rank} would have {after}"


def _shaped(layer: nn.Module, rank: int) -> nn.Module:
    """What takes the layer's place, with random weights. Raises `ValueError` for a rank that it cannot have."""
    assert isinstance(layer, Layer)
    outputs, inputs = layer.weight.shape[:2]
    if not 1 <= rank <= min(outputs, inputs):
        raise ValueError(f"a layer of {inputs} inputs and {outputs} outputs has no rank {rank}")
    biased = layer.bias is not None
    shaped: nn.Sequential
    halves: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.device(layer.weight.device):
        if isinstance(layer, nn.Conv2d):
            halves["reduce"] = placed_like(layer, inputs, rank, groups=1, bias=False)
            halves["expand"] = nn.Conv2d(rank, outputs, 1, bias=biased)
            shaped = LowRankConv2d(halves)
        else:
            halves["reduce"] = nn.Linear(inputs, rank, bias=False)
            halves["expand"] = nn.Linear(rank, outputs, bias=biased)
            shaped = LowRankLinear(halves)
    return shaped.to(layer.weight.dtype).train(layer.training)


@torch.no_grad()
def _approximate(shaped: nn.Module, layer: nn.Module) -> None:
    """Give the two halves the weights whose product is nearest to the layer's."""
    reduce, expand = shaped.get_submodule("reduce"), shaped.get_submodule("expand")
    assert isinstance(layer, Layer)
    assert isinstance(reduce, Layer)
    assert isinstance(expand, Layer)
    long_LR, short_RS = _halves(_tall(layer.weight.detach().flatten(1).double()), expand.weight.shape[1])
    outputs, inputs = layer.weight.shape[:2]
    expand_MR, reduce_RN = (long_LR, short_RS) if outputs >= inputs else (short_RS.T, long_LR.T)
    reduce.weight.copy_(reduce_RN.reshape(reduce.weight.shape))
    expand.weight.copy_(expand_MR.reshape(expand.weight.shape))
    if layer.bias is not None and expand.bias is not None:
        expand.bias.copy_(layer.bias)


def _halves(tall_LS: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two matrices, (L, R) and (R, S), whose product is the closest of this rank: A V / s and s V^T."""
    squares_S, vectors_SS = torch.linalg.eigh(tall_LS.T @ tall_LS)
    vectors_SR = vectors_SS.flip(1)[:, :rank]
    scale_R = even_scales(squares_S.flip(0).clamp(min=0).sqrt())[:rank]
    return tall_LS @ vectors_SR / scale_R, (vectors_SR * scale_R).T
