"""Structured pruning: whole channels go, in every layer that makes or reads them (DepGraph, arXiv 2301.12900).

torch-pruning finds which channels belong together; how many of them stay, which, and how layers are cut is decided
here, so that the form can be planned without weights, kept as numbers, and given to a fresh network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from app.contract.compression import ChannelPruning
from worker.training import shapes
from worker.training.architecture import Sizes
from worker.training.compression import Choice, Cut, Scene, StepChoice
from worker.training.compression._channel_groups import Found, Group, Member, find_groups
from worker.training.compression._cut import LAYERS, NORMS, Kept, cut, leading, sizes, slices, target
from worker.training.compression._layers import EXCLUDED, excluded
from worker.training.compression._widths import (
    Fit,
    Widths,
    cost_of,
    fit,
    full_widths,
    kept_layers,
    narrowed,
    step,
    widths_of,
)
from worker.training.errors import bad_spec

# C = channels of a group, M = of them, those that a layer has; O, I = output and input channels of a layer

MOST_MISSED = 1.1
"""By how much the cost may miss the target, up or down."""
TOLD_FROM = 0.01
"""From what share of the target on a plan says that it is missed."""


@dataclass(frozen=True)
class PruningChoice(Choice):
    kept: Mapping[str, Kept] = field(default_factory=dict)
    """What stays of each layer, and of parameters that stand alone."""


def build(spec: ChannelPruning) -> "Prune":
    """See Transformation."""
    return Prune(spec)


@dataclass(frozen=True)
class Prune:
    spec: ChannelPruning

    def choose(self, model: nn.Module, scene: Scene) -> PruningChoice:
        found = self.look(model, scene)
        widths = full_widths(found.groups)
        notes: list[str] = []
        if any(widths_of(g, g.size, self.spec.round_to) for g in found.groups if not g.reason):
            before = cost_of(model, self.spec, scene)
            nearest = fit(model, found, self.spec, before, before / self.spec.ratio, widths)
            self._refuse_far(nearest, before, scene.pointer)
            notes, widths = self._reached(nearest, before), nearest.widths
        return replace(self.choice(model, found, widths), notes=notes)

    def look(self, model: nn.Module, scene: Scene) -> Found:
        """The network's groups of channels; those that stay have a reason.

        Raises `bad_spec` for a pattern of `exclude` that matches no layer.
        """
        prunable = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        unwanted = excluded(self.spec.exclude, prunable, scene)
        found = find_groups(model, scene)
        groups = [_excluded(group, unwanted) for group in found.groups]
        return replace(found, groups=_without_breaking(model, groups, self.spec.round_to, scene))

    def choice(self, model: nn.Module, found: Found, widths: Widths) -> PruningChoice:
        """The channels to keep when each group has the width that is given for it."""
        scores = {group.root: self._scores(model, group) for group in found.groups if not group.reason}
        kept = kept_layers(found.groups, widths, scores)
        left = {name: sizes(target(model, name), each) for name, each in kept.items()}
        reasons = {
            name: "" if name in kept else _reason(name, found, self.spec.round_to)
            for name, module in model.named_modules()
            if isinstance(module, LAYERS) and any(True for _ in module.parameters())
        }
        return PruningChoice(reasons, left, kept=kept)

    def change(self, model: nn.Module, choice: Choice) -> None:
        assert isinstance(choice, PruningChoice)
        cut(model, choice.kept)

    def rebuild(self, model: nn.Module, layers: Sequence[str], sizes: Sizes) -> None:
        cut(model, {name: leading(target(model, name), outputs, inputs) for name, (outputs, inputs) in sizes.items()})

    def choose_step(self, model: nn.Module, whole: nn.Module, scene: Scene, number: int) -> StepChoice:
        """Each step divides the cost by the same factor; the last one's widths are those of pruning at once."""
        begun, found = self.look(whole, scene), self.look(model, scene)
        before = cost_of(model, self.spec, scene)
        wanted = cost_of(whole, self.spec, scene) / self.spec.ratio ** (number / self.spec.steps)
        nearest = fit(model, found, self.spec, before, wanted, full_widths(begun.groups))
        choice = self.choice(model, found, nearest.widths)
        kept = {name: (each.outputs, each.inputs) for name, each in choice.kept.items()}
        return StepChoice(kept, choice.sizes, before, nearest.cost, wanted)

    def cut_of(self, model: nn.Module, choice: StepChoice) -> Cut:
        return slices(model, {name: Kept(*sides) for name, sides in choice.kept.items()})

    @torch.no_grad()
    def _scores(self, model: nn.Module, group: Group) -> Tensor:
        """How important each channel of a group is; all alike on the meta device, where there are no weights."""
        scores_C = torch.zeros(group.size, dtype=torch.float64)
        layers = [(each, target(model, each.name)) for each in group.members]
        norms = [(each, layer) for each, layer in layers if isinstance(layer, NORMS) and layer.weight is not None]
        by_factors = self.spec.importance == "bn_scale" and norms
        for each, layer in norms if by_factors else layers:
            strength = _strength(layer, each)
            if strength is None or strength.device.type == "meta":
                continue
            strength = strength.cpu()[each.own_M]
            scores_C.index_add_(0, each.group_M, strength.sqrt() if by_factors else strength)
        return scores_C

    def _refuse_far(self, found: Fit, before: int, pointer: str) -> None:
        if 1 / MOST_MISSED <= found.miss <= MOST_MISSED:
            return
        detail = (
            f"The nearest that channel_pruning comes to is {before / found.cost:.2f} times fewer {self._counted}, not "
            f"{self.spec.ratio:g}: use that ratio, a smaller round_to, or exclude fewer layers."
        )
        raise bad_spec(f"{pointer}/ratio", detail, "target_out_of_reach")

    def _reached(self, found: Fit, before: int) -> list[str]:
        if abs(found.miss - 1) < TOLD_FROM:
            return []
        reached = f"channel_pruning leaves {before / found.cost:.2f} times fewer {self._counted}"
        return [f"{reached} instead of {self.spec.ratio:g}: whole channels come no nearer."]

    @property
    def _counted(self) -> str:
        return "MACs" if self.spec.target == "macs" else "parameters"


def _strength(layer: nn.Module | nn.Parameter, member: Member) -> Tensor | None:
    """The sum of squares, in fp64, of the weights that belong to each channel of one side of a layer."""
    weight: Tensor | None = layer if isinstance(layer, nn.Parameter) else getattr(layer, "weight", None)
    if weight is None:
        return None
    squares = weight.detach().double().square()
    if isinstance(layer, (*NORMS, nn.Parameter)):
        return squares.flatten()
    if member.side == "outputs":
        return squares.flatten(1).sum(1)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    outputs, inputs = weight.shape[:2]
    return squares.reshape(groups, outputs // groups, inputs, -1).sum((1, 3)).flatten()


def _excluded(group: Group, unwanted: set[str]) -> Group:
    makes = {each.name for each in group.members if each.side == "outputs"}
    return replace(group, reason=group.reason or EXCLUDED) if makes & unwanted else group


def _without_breaking(model: nn.Module, groups: Sequence[Group], round_to: int, scene: Scene) -> list[Group]:
    """Some networks count on the channels that they were written with, by numbers in their code: found by trying."""
    smaller = {g.root: widths_of(g, g.size, round_to) for g in groups if not g.reason}
    halves = {root: widths[len(widths) // 2] for root, widths in smaller.items() if widths}
    if _runs(narrowed(model, groups, halves), scene):
        return list(groups)
    good: Widths = {}
    for root, half in halves.items():
        if _runs(narrowed(model, groups, good | {root: half}), scene):
            good[root] = half
    reason = "the network does not run with fewer of its channels"
    return [replace(g, reason=reason) if g.root in halves and g.root not in good else g for g in groups]


def _runs(model: nn.Module, scene: Scene) -> bool:
    try:
        shapes.forward(model, scene.channels, scene.image_size)
    except Exception:  # noqa: BLE001 - whatever a network raises when its channels do not fit
        return False
    return True


def _reason(name: str, found: Found, round_to: int) -> str:
    """Why a layer stays as it is."""
    if not found.calls[name]:
        return "the network does not call it as a layer"
    for side in ("outputs", "inputs"):
        for group in found.groups:
            if any(each.name == name and each.side == side for each in group.members):
                return group.reason or f"its {group.size} channels can only be left in steps of {step(group, round_to)}"
    return "its channels cannot be followed through the network"
