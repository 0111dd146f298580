"""Which channels of which layers must go together, found by torch-pruning's dependency graph (arXiv 2301.12900).

It follows channels through additions, concatenations and depthwise convolutions. What it would follow wrongly, such as
channels rearranged for attention, is recognised here, and those layers are left alone.
"""

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from worker.training.compression import Scene
from worker.training.compression._cut import LAYERS, channels, is_depthwise
from worker.training.compression._layers import own_way
from worker.training.compression._skeleton import Traceable, image, traceable
from worker.training.libraries import Linear

# C = channels of a group, M = of them, those that a layer has

Side = Literal["outputs", "inputs"]
SCORES = "its outputs are the scores of the classes"
_PASSES = re.compile(
    "Relu6?|Hardtanh|Silu|Gelu|Sigmoid|Tanh|Hardswish|Hardsigmoid|LeakyRelu|Elu|Selu|Mish|Softplus|LogSigmoid|Threshold|"
    "Add|R?sub|Sub|Mul|Div|Neg|Pow|Exp|R?sqrt|Sqrt|Clamp(Min|Max)?|Abs|Square|Maximum|Minimum|Mean|Sum|Amax|Max|Min|"
    "MaxPool2D(WithIndices)?|AvgPool2D|Adaptive(Avg|Max)Pool2D|ConstantPadNd|Re(flection|plication)Pad2D|"
    "Upsample(Nearest|Bilinear|Bicubic)2D|(Native)?Dropout|Alias|Clone|ToCopy|Cat"
)
"""Operations of autograd's graph that keep channel i channel i. `Max` and `Mean` over channels show as other sizes."""


@dataclass(frozen=True)
class Member:
    """One side of a layer with the channels of a group that it has."""

    name: str
    side: Side
    size: int
    """Channels of that side, in this group and others."""
    own_M: Tensor
    """Numbers of the layer's channels."""
    group_M: Tensor
    """And of the group's channels that they are."""


@dataclass(frozen=True)
class Group:
    """Channels that are one and the same all the way: removed in all layers or in none."""

    root: str
    """A layer that makes them: names the group."""
    size: int
    members: tuple[Member, ...]
    reason: str = ""
    """Why its channels stay; empty when they may go."""
    bundle: int = 1
    """So many neighbouring channels are averaged into one, and go together."""
    parts: int = 1
    """So many equal runs of channels keep equally many each: convolutions with groups, halves of a split."""
    mirrored: bool = False
    """And the same ones of each run: halves may be multiplied with each other, as gates are."""


_LINEAR = (nn.Linear.forward, Linear.forward)


@dataclass(frozen=True)
class _Needs:
    """What one layer or operation asks of a group: see `Group`."""

    bundle: int = 1
    parts: int = 1
    mirrored: bool = False

    def __or__(self, other: "_Needs") -> "_Needs":
        bundle, parts = math.lcm(self.bundle, other.bundle), math.lcm(self.parts, other.parts)
        return _Needs(bundle, parts, self.mirrored or other.mirrored)


class _Unprunable(Exception):
    """The message says why."""


@dataclass(frozen=True)
class Found:
    """What one look at a network showed."""

    groups: Sequence[Group]
    """Every group of channels, in the order of the network."""
    calls: Counter[str]
    """How often it calls each layer."""
    positions: Mapping[str, int]
    """At how many places of an image each layer is applied."""


def find_groups(model: nn.Module, scene: Scene) -> Found:
    """Run the network once, without arithmetic, and follow its channels."""
    import torch_pruning

    traced = traceable(model)
    graph = torch_pruning.DependencyGraph()
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = image(traced.model, scene.channels, scene.image_size)
        # a last operation behind the classifier is what torch-pruning takes for the network's output
        graph.build_dependency(traced.model, (example,), output_transform=torch.Tensor.neg, verbose=False)
        # before each group it would look for joins and splits again; they are found, and nothing is pruned here
        graph.module2node = {layer: node for layer, node in graph.module2node.items() if isinstance(layer, LAYERS)}
        found = list(graph.get_all_groups(root_module_types=(nn.Conv2d, nn.Linear)))
    reader = _Reader(model, scene, graph, traced)
    order = {name: index for index, (name, _) in enumerate(model.named_modules())}
    groups = sorted((reader.read(each.items) for each in found), key=lambda group: order[group.root])
    return Found(_without_overlaps(groups), traced.calls, traced.positions)


@dataclass(frozen=True)
class _Reader:
    """Turns what torch-pruning found into groups."""

    model: nn.Module
    scene: Scene
    graph: Any
    traced: Traceable

    def read(self, items: Sequence[Any]) -> Group:
        root = self.graph._module2name[items[0].dep.target.module]
        size, _ = channels(self.model.get_submodule(root))  # type: ignore[arg-type]
        members: list[Member] = []
        needs, reason = _Needs(), ""
        for item in items:
            try:
                member, own = self._item(item, size)
            except _Unprunable as why:
                reason = reason or str(why)
                continue
            members += [member] if member else []
            needs = needs | own
        if not reason and size % (needs.bundle * needs.parts):
            reason = f"its {size} channels do not divide into {needs.parts} parts of which {needs.bundle} are averaged"
        return Group(root, size, tuple(members), reason, needs.bundle, needs.parts, needs.mirrored)

    def _item(self, item: Any, size: int) -> tuple[Member | None, _Needs]:
        """One layer's side of a group of `size` channels, and what it asks for."""
        node = item.dep.target
        if item.root_idxs is None or len(item.root_idxs) != len(item.idxs) or None in item.root_idxs:
            raise _Unprunable("torch-pruning cannot follow its channels")
        own_M, group_M = torch.tensor(item.idxs, dtype=torch.long), torch.tensor(item.root_idxs, dtype=torch.long)
        if isinstance(node.module, nn.Parameter):
            return self._parameter(node, own_M, group_M), _Needs()
        name = self.graph._module2name.get(node.module)
        if name is None:
            return None, _operation(node, own_M, group_M, size)
        return self._layer(name, item.dep.handler, own_M, group_M, size)

    def _parameter(self, node: Any, own_M: Tensor, group_M: Tensor) -> Member:
        name = self.graph._param_to_name[node.module]
        size = max(node.module.shape)
        if math.prod(node.module.shape) != size or (len(own_M) and int(own_M.max()) >= size):
            raise _Unprunable(f"the parameter {name} has them beside another dimension")
        return Member(name, "outputs", size, own_M, group_M)

    def _layer(self, name: str, handler: Any, own_M: Tensor, group_M: Tensor, size: int) -> tuple[Member, _Needs]:
        layer = self.model.get_submodule(name)
        if reason := self._unusual(name, layer):
            raise _Unprunable(reason)
        is_out = self.graph.is_out_channel_pruning_fn(handler)
        side: Side = "outputs" if is_out else "inputs"
        ratio = self.traced.ratios.get(name, 1) if side == "inputs" else 1
        wide = channels(layer)[0 if is_out else 1] * ratio  # type: ignore[arg-type]
        if len(own_M) == 0 or int(own_M.max()) >= wide:
            raise _Unprunable(f"{name} reads them as something else than channels")
        if ratio > 1:
            own_M, group_M = _averaged(name, own_M, group_M, ratio)
        parts = _parts(name, layer, own_M, group_M, size)
        return Member(name, side, wide // ratio, own_M, group_M), _Needs(ratio, parts)

    def _unusual(self, name: str, layer: nn.Module) -> str:
        """Why the channels of a layer cannot be touched, seen from the layers that share them."""
        if not isinstance(layer, LAYERS):
            return f"{name}, a {type(layer).__name__}, uses them too"
        if self.traced.calls[name] != 1:
            return f"the network calls {name} {self.traced.calls[name]} times"
        own = ""
        if isinstance(layer, nn.Conv2d):
            own = own_way(name, layer, self.scene)
        elif isinstance(layer, nn.Linear) and type(layer).forward not in _LINEAR:
            own = f"its class {type(layer).__name__} computes its output in its own way"
        elif isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) != 1:
            own = "it normalises over more than channels"
        return f"{name}: {own}" if own else ""


def _averaged(name: str, own_M: Tensor, group_M: Tensor, ratio: int) -> tuple[Tensor, Tensor]:
    """What a convolution behind a group mean reads: one channel for `ratio` neighbours of this group, and no others."""
    aligned = len(own_M) % ratio == 0
    if aligned:
        own, group = own_M.reshape(-1, ratio), group_M.reshape(-1, ratio)
        steps = torch.arange(ratio)
        aligned = bool((own == own[:, :1] + steps).all() and (own[:, 0] % ratio == 0).all())
        aligned = aligned and bool((group == group[:, :1] + steps).all() and (group[:, 0] % ratio == 0).all())
    if not aligned:
        raise _Unprunable(f"{name} averages them with channels of other layers")
    return own[:, 0] // ratio, group[:, 0]


def _parts(name: str, layer: nn.Module, own_M: Tensor, group_M: Tensor, size: int) -> int:
    """Of how many equal runs of channels a layer must have equally many: its groups."""
    match layer:
        case nn.Conv2d() if not is_depthwise(layer):
            parts = layer.groups
        case nn.GroupNorm():
            parts = layer.num_groups
        case _:
            parts = 1
    if parts > 1 and not (len(own_M) == size and torch.equal(own_M, group_M)):
        raise _Unprunable(f"{name} has {parts} groups, of which these are a part")
    return parts


def _operation(node: Any, own_M: Tensor, group_M: Tensor, size: int) -> _Needs:
    """What an operation on the way asks for; raises when it does not keep channels what they are."""
    from torch_pruning import ops

    kind, gradient = node.type, node.grad_fn
    if kind == ops.OPTYPE.OUTPUT:
        raise _Unprunable(SCORES)
    name = re.sub(r"Backward\d*$", "", gradient.name().rpartition("::")[2])
    if kind in (ops.OPTYPE.CONCAT, ops.OPTYPE.SPLIT):
        if gradient._saved_dim != 1:
            raise _Unprunable(f"{name} joins or parts something else than channels")
        return _split(node, own_M, group_M, size) if kind == ops.OPTYPE.SPLIT else _Needs()
    if kind == ops.OPTYPE.RESHAPE and _keeps_channels(gradient):
        return _Needs()
    if not _PASSES.fullmatch(name):
        raise _Unprunable(f"{name} may rearrange them")
    return _Needs()


def _split(node: Any, own_M: Tensor, group_M: Tensor, size: int) -> _Needs:
    sizes = node.module.split_sizes
    whole = len(own_M) == size and torch.equal(own_M, group_M) and sum(sizes) == size
    if not whole or len(set(sizes)) != 1:
        raise _Unprunable("the network splits them into parts of fixed sizes")
    return _Needs(parts=len(sizes), mirrored=True)


def _keeps_channels(gradient: Any) -> bool:
    """Flattening images into rows of values, putting a row back onto one pixel, shaping factors; no more dimensions."""
    sizes: tuple[int, ...] = getattr(gradient, "_saved_self_sym_sizes", ())
    return len(sizes) in (1, 2, 4)


def _without_overlaps(groups: Sequence[Group]) -> list[Group]:
    """A channel of a layer that two groups claim binds them to each other in a way that nobody here follows."""
    claimed: dict[tuple[str, Side], Tensor] = {}
    contested: set[tuple[str, Side]] = set()
    for group in groups:
        for each in group.members:
            taken = claimed.setdefault((each.name, each.side), torch.zeros(each.size, dtype=torch.bool))
            if bool(taken[each.own_M].any()):
                contested.add((each.name, each.side))
            taken[each.own_M] = True
    return [replace(g, reason=g.reason or next(_contested(g, contested), "")) for g in groups]


def _contested(group: Group, contested: set[tuple[str, Side]]) -> Iterator[str]:
    for each in group.members:
        if (each.name, each.side) in contested:
            yield f"{each.name} ties them to channels of other layers"
