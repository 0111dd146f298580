"""The state of one network's training: what checkpoints hold of it."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from worker.training import parts, pruning, seeds
from worker.training.averaging import Average
from worker.training.checkpoint import Snapshot
from worker.training.loop import Trainee
from worker.training.saver import Saver
from worker.training.site import Site


def average(site: Site, network: nn.Module, saved: dict[str, torch.Tensor] | None = None) -> Average | None:
    """The moving average that the spec asks for: as it was saved, else as it begins."""
    ema = site.order.spec.training.ema
    average = Average.begin(ema, network) if ema else None
    if average and saved:
        average.load(saved)
    return average


def snapshot(site: Site, trainee: Trainee, *, is_best: bool) -> Snapshot:
    """Called by all ranks; rank 0's copy is whole, but for what is in the others' parts."""
    rng = site.gather(seeds.state(site.ranks.device))
    whole = site.ranks.whole_state(trainee.optimizer)
    memories = site.ranks.collect(site.ranks.memory()) if site.ranks.memory() else []
    keep = is_best and site.order.spec.training.export_best is not None
    copied = _copied(site.saver, trainee, whole, keep) | ({"ranks": memories} if memories else {})
    rest, part = parts.split(copied, _divided(trainee, whole, copied)) if site.ranks.sharded else (copied, {})
    position = replace(trainee.position, epoch_sums=list(trainee.position.epoch_sums))
    applied = pruning.applied(trainee.network, position.prunings)
    pruned = applied.model_dump(mode="json") if applied else None
    return Snapshot(position, site.identity, rest, rng, pruned, part)


def restore(site: Site, trainee: Trainee, tensors: dict[str, Any]) -> None:
    """Put what was saved of a training, but for its weights, into a trainee like the one that it was of."""
    trainee.methods.load(tensors.get("methods", {}))
    moments = tensors["optimizer"]
    if not site.ranks.sharded:
        weights = (each for group in trainee.optimizer.param_groups for each in group["params"])
        moments = parts.whole_moments(moments, weights)
    trainee.optimizer.load_state_dict(moments)
    memories = tensors.get("ranks", [])
    if len(memories) == site.ranks.world:
        site.ranks.recall(memories[site.ranks.rank])
    trainee.scaler.load_state_dict(tensors["scaler"])
    trainee.average = average(site, trainee.network, tensors.get("ema"))
    best = tensors.get("best") if site.saver else None
    if best is not None:
        living = trainee.network.state_dict()
        trainee.best = {name: parts.kept(saved, living[name]) for name, saved in best.items()}


def _divided(trainee: Trainee, optimizer: dict[str, Any], copied: dict[str, Any]) -> list[parts.Place]:
    """Where in a copy there are rows of this rank; the best weights are a copy themselves."""
    places = parts.divided(tensors(trainee, optimizer))
    best = [("best", place[1]) for place in places if place[0] == "model"]
    return places + (best if "best" in copied else [])


def _copied(saver: Saver | None, trainee: Trainee, optimizer: dict[str, Any], keep: bool) -> dict[str, Any]:
    """The state on the host of a rank that saves. `keep`: what is evaluated now is exported, until better comes."""
    if saver is None:
        return {}
    copied = saver.copy(parts.owned(tensors(trainee, optimizer)))
    if keep:
        part = "ema" if trainee.average else "model"
        saver.copies.give_away(part, in_return=trainee.best)
        trainee.best = copied[part]
    return copied | ({"best": trainee.best} if trainee.best is not None else {})


def tensors(trainee: Trainee, optimizer: dict[str, Any] | None = None) -> dict[str, Any]:
    """All that changes as a network is trained, as it is: on its device, and shared with it.

    `optimizer`: the whole state of one that ranks divide; without it, this rank's own.
    """
    state = {
        "model": trainee.network.state_dict(),
        "optimizer": trainee.optimizer.state_dict() if optimizer is None else optimizer,
        "scaler": trainee.scaler.state_dict(),
        "methods": trainee.methods.state(),
    }
    return state | ({"ema": trainee.average.tensors} if trainee.average else {})
