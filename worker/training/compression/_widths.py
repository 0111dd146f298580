"""How many channels each group keeps so that the network costs what it shall: the same share of all, rounded.

The widths follow from the network's form and the target alone, not from its weights: a plan without weights knows them.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.contract.compression import ChannelPruning
from worker.training.compression import Scene
from worker.training.compression._channel_groups import Found, Group, Side
from worker.training.compression._cut import Kept, channels, cut, parameters, sizes, target
from worker.training.compression._skeleton import skeleton
from worker.training.cost import network_cost

# C = channels of a group, P = parts of it, B = bundles in a part, M = channels of a layer

Widths = dict[str, int]
"""Channels that each group keeps, by its root."""


@dataclass(frozen=True)
class Fit:
    """The widths that come nearest to a target, and what the network then costs."""

    widths: Widths
    cost: int
    wanted: float

    @property
    def miss(self) -> float:
        """How many times more the network costs than it shall; below 1 when it costs less."""
        return self.cost / self.wanted


def cost_of(model: nn.Module, method: ChannelPruning, scene: Scene) -> int:
    """What the method's target counts, of a network as it is."""
    found = network_cost(model, scene.channels, scene.image_size)
    return found.macs if method.target == "macs" else found.parameters


def full_widths(groups: Sequence[Group]) -> Widths:
    """As the network is."""
    return {group.root: group.size for group in groups}


def fit(model: nn.Module, found: Found, method: ChannelPruning, cost: int, wanted: float, whole: Widths) -> Fit:
    """The widths nearest to the cost `wanted`, for a network that costs `cost`.

    `whole`: the widths before any pruning, of which shares are taken.
    """
    groups = found.groups
    events = _events([group for group in groups if not group.reason], whole, method.round_to)
    known: dict[int, Fit] = {}

    def after(count: int) -> Fit:
        if count not in known:
            widths = full_widths(groups)
            for _, _, root, width in events[:count]:
                widths[root] = min(width, widths[root])
            known[count] = Fit(widths, cost - _saved(model, found, method, widths), wanted)
        return known[count]

    fewest = bisect_left(range(len(events)), True, key=lambda count: after(count).cost <= wanted)
    near = [after(count) for count in (fewest - 1, fewest) if count >= 0]
    return min(near, key=lambda each: abs(math.log(each.miss)))


def widths_of(group: Group, whole: int, round_to: int) -> list[int]:
    """What a group of `whole` channels may keep, less than all: multiples of what its layers need and are fast at."""
    return list(range(step(group, round_to), whole, step(group, round_to)))


def step(group: Group, round_to: int) -> int:
    """Of how many channels the group's widths are multiples."""
    return math.lcm(group.bundle * group.parts, round_to)


def _events(groups: Sequence[Group], whole: Widths, round_to: int) -> list[tuple[float, int, str, int]]:
    """As the share that all groups keep falls from 1 to 0: at which share which group falls to which width.

    Groups whose share is the same fall one after another, so that the network gets smaller in steps of one group.
    """
    events = []
    for index, group in enumerate(groups):
        half = step(group, round_to) / 2
        for width in widths_of(group, whole[group.root], round_to):
            events.append((-(width + half) / whole[group.root], index, group.root, width))
    return sorted(events)


def narrowed(model: nn.Module, groups: Sequence[Group], widths: Widths) -> nn.Module:
    """A copy without memory in which each group has its width; which channels they are makes no difference to it."""
    copied = skeleton(model)
    alike = {group.root: torch.zeros(group.size) for group in groups}
    cut(copied, kept_layers(groups, widths, alike))
    return copied


def _saved(model: nn.Module, found: Found, method: ChannelPruning, widths: Widths) -> int:
    """What the network costs less with these widths: a layer's MACs are its weights times the places they are at."""
    alike = {group.root: torch.zeros(group.size) for group in found.groups}
    saved = 0
    for name, kept in kept_layers(found.groups, widths, alike).items():
        layer = target(model, name)
        before, after = parameters(layer, *channels(layer)), parameters(layer, *sizes(layer, kept))
        if method.target == "parameters":
            saved += before[1] - after[1]
        else:
            saved += (before[0] - after[0]) * found.positions.get(name, 0)
    return saved


def kept_layers(groups: Sequence[Group], widths: Widths, scores: Mapping[str, Tensor]) -> dict[str, Kept]:
    """What stays of each layer that loses channels: of each group those with the highest scores, of equals the first.

    `scores`: one value for each channel of a group, by its root.
    """
    stays: dict[str, dict[Side, Tensor]] = {}
    for group in groups:
        if widths.get(group.root, group.size) == group.size:
            continue
        keeps_C = _best(group, widths[group.root], scores[group.root])
        for each in group.members:
            mask = stays.setdefault(each.name, {}).setdefault(each.side, torch.ones(each.size, dtype=torch.bool))
            mask[each.own_M] = keeps_C[each.group_M]
    return {name: Kept(_numbers(sides.get("outputs")), _numbers(sides.get("inputs"))) for name, sides in stays.items()}


def _best(group: Group, count: int, scores_C: Tensor) -> Tensor:
    """Whether each channel is among the `count` best: whole bundles, equally many of each part."""
    bundles_PB = scores_C.reshape(group.parts, -1, group.bundle).sum(2)
    if group.mirrored:
        bundles_PB = bundles_PB.sum(0, keepdim=True).expand(group.parts, -1)
    order_PB = bundles_PB.argsort(dim=1, descending=True, stable=True)
    chosen_PB = torch.zeros_like(bundles_PB, dtype=torch.bool)
    chosen_PB.scatter_(1, order_PB[:, : count // (group.parts * group.bundle)], True)
    return chosen_PB.flatten().repeat_interleave(group.bundle)


def _numbers(mask: Tensor | None) -> list[int] | None:
    return None if mask is None else mask.nonzero().flatten().tolist()
