"""Who reads which activation: found by running the network once and watching, not by its module names.

Symbolic tracing fails on networks that branch on shapes (vgg); a real forward pass cannot.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from worker.training import shapes
from worker.training.errors import bad_spec

LAYERS = (nn.Conv2d, nn.Linear)
"""Those that are watched."""


@dataclass
class Flow:
    """What one forward pass showed about each 2-d convolution and linear layer, by module name."""

    calls: Counter[str] = field(default_factory=Counter)
    """How often it ran."""
    readers: dict[str, int] = field(default_factory=dict)
    """How many operations read its input, itself included; of several calls, the most."""
    reads_image: set[str] = field(default_factory=set)
    """Those whose input is the image, or the image merely rearranged or scaled."""
    weights_read: set[str] = field(default_factory=set)
    """Those whose weights something else than their own forward looks at."""
    weights_of: dict[str, str] = field(default_factory=dict)
    """Of those whose weights are another layer's too: the first such layer."""


def observe(model: nn.Module, image_size: Sequence[int], channels: int) -> Flow:
    """Run `model` on a blank image, without arithmetic. Raises `bad_spec` when the image does not fit the network."""
    flow, inputs = Flow(), list[tuple[str, Tensor]]()
    watch = _Watch()
    handles = [model.register_forward_pre_hook(lambda _, args: watch.begin(args[0]))]
    for name, module in model.named_modules():
        if isinstance(module, LAYERS):
            handles.append(module.register_forward_pre_hook(_note(name, inputs)))
    training = model.training
    try:
        with torch.no_grad(), watch, _weights_watched(model, watch, flow):
            shapes.forward(model.eval(), channels, image_size)
    except Exception as error:
        raise bad_spec("/model/name", shapes.does_not_run(image_size, error), "image_does_not_fit") from error
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    flow.weights_of.update(_sharing(model))
    for name, tensor in inputs:
        flow.calls[name] += 1
        flow.readers[name] = max(flow.readers.get(name, 0), watch.readers[id(tensor)])
        if id(tensor) in watch.from_image:
            flow.reads_image.add(name)
    return flow


@contextmanager
def _weights_watched(model: nn.Module, watch: "_Watch", flow: Flow) -> Iterator[None]:
    """Each layer is of a subclass of its class for a while, in which looking up its weights is noticed."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LAYERS)]
    own = [(module, type(module)) for _, module in layers]
    inside: list[nn.Module] = []
    for name, module in layers:
        module.__class__ = _watched(type(module), name, inside, watch, flow)
    try:
        yield
    finally:
        for module, cls in own:
            module.__class__ = cls


def _watched(cls: Any, name: str, inside: list[nn.Module], watch: "_Watch", flow: Flow) -> Any:
    class Watched(cls):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            inside.append(self)
            try:
                return super().forward(*args, **kwargs)
            finally:
                inside.pop()

        def __getattr__(self, attribute: str) -> Any:
            if attribute in ("weight", "bias") and watch.begun and self not in inside:
                flow.weights_read.add(name)
            return super().__getattr__(attribute)

    return Watched


def _sharing(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Layers that are not the same but have the same weights: both names, for each of the two and more."""
    owners: dict[nn.Parameter, list[str]] = {}
    for name, module in model.named_modules():
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        if weight is not None and isinstance(module, LAYERS):
            owners.setdefault(weight, []).append(name)
    for names in owners.values():
        for name in names if len(names) > 1 else ():
            yield name, next(each for each in names if each != name)


def _note(name: str, inputs: list[tuple[str, Tensor]]) -> Any:
    def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
        if args:
            inputs.append((name, args[0]))

    return hook


class _Watch(TorchDispatchMode):
    """Counts the readers of every tensor by identity, and follows what is still the image."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: Counter[int] = Counter()
        self.from_image: set[int] = set()
        self._alive: list[Tensor] = []  # or an identity could be used twice

    @property
    def begun(self) -> bool:
        """Whether the network's own forward pass is under way."""
        return bool(self.from_image)

    def begin(self, image: Tensor) -> None:
        self._alive.append(image)
        self.from_image.add(id(image))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = {id(each): each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        self._alive += [*read.values(), *made]
        changed_in_place = {id(each) for each in made}
        self.readers.update(key for key in read if key not in changed_in_place)
        if read and all(key in self.from_image for key, each in read.items() if each.ndim):
            self.from_image.update(id(each) for each in made)
        return result
