"""Which layers a transformation may touch, and what a spec's patterns select of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from worker.training.compression import Scene
from worker.training.libraries import Conv2dSame
from worker.training.patterns import matches, selected

__all__ = [
    "EXCLUDED", "READS_IMAGE", "computes_as_torch_does", "convolutions", "even_scales", "excluded", "matches",
    "own_way", "placed_like", "reads_image", "replace", "selected", "unusual", "with_other_convolutions",
]  # fmt: skip

EXCLUDED = "excluded by the spec"
READS_IMAGE = "it reads the image"


def unusual(name: str, layer: nn.Conv2d | nn.Linear, scene: Scene) -> str:
    """Why no method may replace this layer; empty when it is an ordinary dense one."""
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        return f"it has {layer.groups} groups already"
    return own_way(name, layer, scene)


def own_way(name: str, layer: nn.Conv2d | nn.Linear, scene: Scene) -> str:
    """Why the weights of this layer cannot be taken for what it computes; empty when they can."""
    return next(_oddities(name, layer, scene), "")


def _oddities(name: str, layer: nn.Conv2d | nn.Linear, scene: Scene) -> Iterator[str]:
    if not computes_as_torch_does(layer):
        yield f"its class {type(layer).__name__} computes its weights or its output in its own way"
    if parametrize.is_parametrized(layer):
        yield "its weights are computed by a parametrization"
    if name in scene.flow.weights_of:
        yield f"its weights are those of {scene.flow.weights_of[name]} too"
    if name in scene.flow.weights_read:
        yield "the network looks at its weights"
    if not scene.flow.calls[name]:
        yield "the network does not call it as a layer"


def reads_image(name: str, layer: nn.Conv2d, scene: Scene) -> bool:
    """Whether it is a stem: fed by the image itself, by the image rearranged, or by as many channels as images have."""
    return name in scene.flow.reads_image or layer.in_channels == scene.channels


def placed_like(layer: nn.Conv2d, inputs: int, outputs: int, groups: int, bias: bool) -> nn.Conv2d:
    """A convolution with other channels at the same place: kernel, stride, padding, dilation as in `layer`.

    timm's `same` padding depends on the image size at run time, so its class is kept.
    """
    placement: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    if isinstance(layer, Conv2dSame):
        cls: type[nn.Conv2d] = Conv2dSame
    else:
        cls = nn.Conv2d
        placement["padding_mode"] = layer.padding_mode
    return cls(inputs, outputs, layer.kernel_size, groups=groups, bias=bias, **placement)  # type: ignore[arg-type]


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Every one, by its first name, in the order of the network."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def with_other_convolutions(model: nn.Module, reasons: Mapping[str, str]) -> dict[str, str]:
    """The reasons, and one for each convolution that is not of the common kind: transposed, or not over planes."""
    others = {
        name: f"it is a {type(module).__name__}, and only Conv2d can be replaced"
        for name, module in model.named_modules()
        if isinstance(module, _ConvNd) and not isinstance(module, nn.Conv2d)
    }
    known = {**others, **reasons}
    return {name: known[name] for name, _ in model.named_modules() if name in known}


def replace(model: nn.Module, names: Iterable[str], make: Callable[[str, nn.Module], nn.Module]) -> None:
    """Put what `make` makes of each named layer in its place. A layer known by several names changes under all."""
    known_as: dict[nn.Module, list[str]] = {}
    for alias, module in model.named_modules(remove_duplicate=False):
        known_as.setdefault(module, []).append(alias)
    for name, old in [(name, model.get_submodule(name)) for name in names]:
        new = make(name, old)
        for alias in known_as[old]:
            model.set_submodule(alias, new)


def even_scales(values_R: Tensor) -> Tensor:
    """What one half of U S V^T is multiplied by, and S divided by for the other: about sqrt(S).

    That gives both halves the same norm, so that a step of the optimizer moves both alike. It is at least what a
    thousandth of the largest value has: where S is 0 one half must not be, or neither would ever get a gradient.
    """
    largest_1 = values_R.amax(-1, keepdim=True)
    return values_R.maximum(largest_1 / 1000).where(largest_1 > 0, 1.0).sqrt()


def excluded(patterns: Iterable[str], layers: Iterable[str], scene: Scene, what: str = "layer") -> set[str]:
    """The layers that a method's `exclude` leaves alone; raises as `selected` does."""
    return selected(patterns, layers, f"{scene.pointer}/exclude", what)


def computes_as_torch_does(layer: nn.Conv2d | nn.Linear) -> bool:
    """A subclass that standardises its weights would lose that silently; timm's `same` padding is known and kept."""
    cls = type(layer)
    if cls is Conv2dSame:
        return True
    if isinstance(layer, nn.Linear):
        return cls.forward is nn.Linear.forward
    return cls.forward is nn.Conv2d.forward and cls._conv_forward is nn.Conv2d._conv_forward
