"""Taking channels out of a layer: which parts of its tensors stay, and what it then says of itself.

The same functions serve a trained layer, whose chosen channels stay; a fresh one, which only needs the form; and the
moments that an optimizer keeps for each weight.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# O, I = output and input channels of a layer; K = those that stay

Slice = Callable[[Tensor], Tensor]
"""From a tensor of a layer, or one of its shape, to what stays of it."""

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
LAYERS = (nn.Conv2d, nn.Linear, *NORMS)


@dataclass(frozen=True)
class Kept:
    """The channels of a layer that stay, ascending; null: all. Normalisations and lone parameters have outputs only."""

    outputs: Sequence[int] | None = None
    inputs: Sequence[int] | None = None


def is_depthwise(layer: nn.Module) -> bool:
    """Each output channel reads the input channel of its number and no other."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


def channels(layer: nn.Module | nn.Parameter) -> tuple[int, int]:
    """(outputs, inputs) of a layer; the same number twice where it has only one kind."""
    match layer:
        case nn.Conv2d():
            return layer.out_channels, layer.in_channels
        case nn.Linear():
            return layer.out_features, layer.in_features
        case nn.modules.batchnorm._BatchNorm():
            return layer.num_features, layer.num_features
        case nn.LayerNorm():
            return layer.normalized_shape[-1], layer.normalized_shape[-1]
        case nn.GroupNorm():
            return layer.num_channels, layer.num_channels
        case nn.Parameter():
            return max(layer.shape), max(layer.shape)
    raise TypeError(type(layer).__name__)


def parameters(layer: nn.Module | nn.Parameter, outputs: int, inputs: int) -> tuple[int, int]:
    """How many (weights that multiply, parameters in all) a layer has when so many of its channels are left."""
    own_outputs, own_inputs = channels(layer)
    if isinstance(layer, nn.Parameter):
        return 0, outputs
    if isinstance(layer, NORMS):
        return 0, outputs * len(list(layer.parameters(recurse=False)))
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    share = outputs if is_depthwise(layer) else outputs * inputs
    whole = own_outputs if is_depthwise(layer) else own_outputs * own_inputs
    products = weight.numel() * share // whole
    return products, products + (outputs if bias is not None else 0)


def slices(model: nn.Module, kept: Mapping[str, Kept]) -> dict[str, Slice]:
    """For each tensor in the state of `model` that will get smaller, by its name: what stays of it."""
    found: dict[str, Slice] = {}
    for name, each in kept.items():
        layer = target(model, name)
        own = {"": layer} if isinstance(layer, nn.Parameter) else {f".{key}": t for key, t in _tensors(layer)}
        for key, tensor in own.items():
            if tensor.ndim:
                found[f"{name}{key}"] = _slice(layer, key.removeprefix("."), each)
    return found


def cut(model: nn.Module, kept: Mapping[str, Kept]) -> None:
    """Take everything else out of the layers of `model`, in place; other layers than `LAYERS` have no channels."""
    for name, smaller in slices(model, kept).items():
        _put(model, name, smaller)
    for name, each in kept.items():
        layer = target(model, name)
        if not isinstance(layer, nn.Parameter):
            _describe(layer, each)


def sizes(layer: nn.Module | nn.Parameter, kept: Kept) -> tuple[int, int]:
    """(outputs, inputs) that stay of a layer."""
    outputs, inputs = channels(layer)
    if kept.outputs is not None:
        outputs = len(kept.outputs)
    if isinstance(layer, nn.Conv2d | nn.Linear) and not is_depthwise(layer):
        return outputs, inputs if kept.inputs is None else len(kept.inputs)
    return outputs, outputs


def leading(layer: nn.Module | nn.Parameter, outputs: int, inputs: int) -> Kept:
    """So many channels of a layer, whichever: the first of each of its groups."""
    own_outputs, own_inputs = channels(layer)
    parts = layer.groups if isinstance(layer, nn.Conv2d) and not is_depthwise(layer) else 1
    return Kept(
        None if outputs == own_outputs else _first(own_outputs, outputs, parts),
        None if inputs == own_inputs else _first(own_inputs, inputs, parts),
    )


def target(model: nn.Module, name: str) -> nn.Module | nn.Parameter:
    """The layer of that name, or the parameter that stands alone."""
    parent, _, last = name.rpartition(".")
    found = getattr(model.get_submodule(parent), last)
    assert isinstance(found, nn.Module | nn.Parameter)
    return found


def _first(size: int, count: int, parts: int) -> list[int]:
    return [index for index in range(size) if index % (size // parts) < count // parts]


def _tensors(layer: nn.Module) -> list[tuple[str, Tensor]]:
    return [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]


def _slice(layer: nn.Module | nn.Parameter, tensor: str, kept: Kept) -> Slice:
    if isinstance(layer, nn.Parameter):
        return lambda old: _select(old, _only_dim(old), kept.outputs)
    if tensor != "weight" or isinstance(layer, NORMS):
        return lambda old: _select(old, 0, kept.outputs)
    if isinstance(layer, nn.Conv2d) and layer.groups > 1 and not is_depthwise(layer):
        groups = layer.groups
        return lambda old: _grouped(old, groups, kept)
    inputs = None if is_depthwise(layer) else kept.inputs
    return lambda old: _select(_select(old, 0, kept.outputs), 1, inputs)


def _only_dim(tensor: Tensor) -> int:
    """Of a parameter that scales channels: shaped C, or C with ones around it."""
    return tensor.shape.index(max(tensor.shape))


def _select(old: Tensor, dim: int, kept: Sequence[int] | None) -> Tensor:
    return old if kept is None else old.index_select(dim, torch.tensor(kept, dtype=torch.long, device=old.device))


def _grouped(old: Tensor, groups: int, kept: Kept) -> Tensor:
    """Of each group of a convolution its own outputs and inputs: equally many, not the same."""
    parts = []
    outputs, inputs = len(old), old.shape[1] * groups
    for number, weight in enumerate(old.chunk(groups)):
        own_outputs = _within(kept.outputs, number, outputs // groups)
        parts.append(_select(_select(weight, 0, own_outputs), 1, _within(kept.inputs, number, inputs // groups)))
    return torch.cat(parts)


def _within(kept: Sequence[int] | None, number: int, size: int) -> list[int] | None:
    if kept is None:
        return None
    return [index - number * size for index in kept if index // size == number]


def _put(model: nn.Module, name: str, smaller: Slice) -> None:
    """The new tensor lies in memory as a fresh one does: a network built again must compute the same bits."""
    parent, _, last = name.rpartition(".")
    module = model.get_submodule(parent)
    old: Tensor = getattr(module, last)
    chosen = smaller(old.detach())
    new = torch.empty(chosen.shape, dtype=chosen.dtype, device=chosen.device).copy_(chosen)
    setattr(module, last, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)


def _describe(layer: nn.Module, kept: Kept) -> None:
    """What a layer says of its channels; its `forward` may rely on it."""
    outputs = None if kept.outputs is None else len(kept.outputs)
    inputs = None if kept.inputs is None else len(kept.inputs)
    match layer:
        case nn.Conv2d() if is_depthwise(layer):
            if outputs is not None:
                layer.in_channels = layer.out_channels = layer.groups = outputs
        case nn.Conv2d():
            layer.out_channels = layer.out_channels if outputs is None else outputs
            layer.in_channels = layer.in_channels if inputs is None else inputs
        case nn.Linear():
            layer.out_features = layer.out_features if outputs is None else outputs
            layer.in_features = layer.in_features if inputs is None else inputs
        case nn.modules.batchnorm._BatchNorm() if outputs is not None:
            layer.num_features = outputs
        case nn.LayerNorm() if outputs is not None:
            layer.normalized_shape = (outputs,)
        case nn.GroupNorm() if outputs is not None:
            layer.num_channels = outputs
