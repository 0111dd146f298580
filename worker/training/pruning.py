"""Pruning during training: at the ends of some epochs channels go, and training goes on with those that are left.

A step is made before the first batch of the next epoch. What it leaves is a state like a checkpoint's: the form of
the network, its weights and the optimizer's moments, each cut to the channels that stay. The run goes on from that as
it would from the file, so a resumed run computes the same bits as one that was not stopped.
"""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.contract.compression import ChannelPruning
from app.contract.events import Noted
from app.contract.job import JobSpec
from worker.training import architecture, plugins
from worker.training.architecture import Applied
from worker.training.checkpoint import Position
from worker.training.compression import Cut, Gradual, StepChoice, scene_of
from worker.training.site import Site

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One of several: `number` counts from 1."""

    index: int
    """Of the method in the spec."""
    method: ChannelPruning
    number: int
    made: int
    """Steps before it."""


@dataclass(frozen=True)
class Pruned:
    """What a step leaves."""

    applied: Applied
    """The form of the network, against the one that training began with."""
    slices: Cut

    def cut(self, tensors: dict[str, Any], network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The state of a network, its average and its optimizer, as copies, with the channels that stay.

        Moments are cut with the weights that they belong to: those of a channel do not depend on other channels'.
        """
        smaller = {
            part: {name: self._smaller(name, tensor) for name, tensor in tensors[part].items()}
            for part in ("model", "ema")
            if part in tensors
        }
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        ordered = [names[id(each)] for group in optimizer.param_groups for each in group["params"]]
        shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
        state = {
            index: {key: self._moment(ordered[index], value, shapes[ordered[index]]) for key, value in moments.items()}
            for index, moments in tensors["optimizer"]["state"].items()
        }
        return tensors | smaller | {"optimizer": tensors["optimizer"] | {"state": state}}

    def _smaller(self, name: str, tensor: Tensor) -> Tensor:
        """Laid out as before: fused optimizers walk through weights and moments side by side."""
        channels_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        smaller = self.slices[name](tensor.detach()) if name in self.slices else tensor.detach()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return smaller.clone(memory_format=layout)

    def _moment(self, name: str, value: Any, shape: torch.Size) -> Any:
        return self._smaller(name, value) if isinstance(value, Tensor) and value.shape == shape else value


def due(spec: JobSpec, position: Position) -> Step | None:
    """The step to make before the next batch; null when none is."""
    if position.phase != "training":
        return None
    for index, method in enumerate(spec.compression):
        if isinstance(method, ChannelPruning) and method.is_gradual:
            number = sum(end <= position.epoch for end in method.epochs(spec.training.epochs))
            if number > position.prunings:
                return Step(index, method, number, position.prunings)
    return None


def prune(network: nn.Module, whole: nn.Module, step: Step, site: Site) -> Pruned:
    """Choose the channels that stay. `whole`: the network as training began with it, with any weights.

    The first rank chooses for all: sums over the same weights may differ in their last bit between devices.
    """
    described = architecture.of(network)
    scene = scene_of(network, f"/compression/{step.index}", site.order.spec.image_size, described.channels)
    method: Gradual = plugins.build("compression", step.method)
    chosen = method.choose_step(network, whole, scene, step.number) if site.ranks.rank == 0 else None
    choice = StepChoice(**site.gather(asdict(chosen) if chosen else {})[0])
    earlier = applied(network, step.made)
    sizes = (earlier.sizes if earlier else {}) | {name: tuple(each) for name, each in choice.sizes.items()}
    names = [name for name, _ in network.named_modules() if name in sizes]
    _tell(site, step, {"before": choice.before, "after": choice.after, "wanted": choice.wanted})
    return Pruned(Applied(method=step.method, layers=tuple(names), sizes=sizes), method.cut_of(network, choice))


def applied(network: nn.Module, prunings: int) -> Applied | None:
    """What so many steps have made of a network; the last thing that was done to it."""
    return architecture.of(network).compression[-1] if prunings else None


def _tell(site: Site, step: Step, cost: dict[str, float]) -> None:
    counted = "MACs" if step.method.target == "macs" else "parameters"
    message = (
        f"Pruned, step {step.number} of {step.method.steps}: {cost['before']:,.0f} {counted} are "
        f"{cost['after']:,.0f} now; {cost['wanted']:,.0f} were aimed at."
    )
    log.info(message)
    data = {"step": step.number, "steps": step.method.steps, "target": step.method.target, **cost}
    site.reporter.send(Noted, level="info", code="pruned", message=message, data=data)
