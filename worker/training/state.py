"""The state of one network's training: what checkpoints hold of it."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from worker.training import pruning, seeds
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
    """Called by all ranks; rank 0's copy is whole."""
    rng = site.gather(seeds.state(site.ranks.device))
    whole = site.ranks.whole_state(trainee.optimizer)
    memories = site.ranks.collect(site.ranks.memory()) if site.ranks.memory() else []
    keep = is_best and site.order.spec.training.export_best is not None
    copied = _copied(site.saver, trainee, whole, keep) | ({"ranks": memories} if memories else {})
    position = replace(trainee.position, epoch_sums=list(trainee.position.epoch_sums))
    applied = pruning.applied(trainee.network, position.prunings)
    pruned = applied.model_dump(mode="json") if applied else None
    return Snapshot(position, site.identity, copied, rng, pruned)


def _copied(saver: Saver | None, trainee: Trainee, optimizer: dict[str, Any], keep: bool) -> dict[str, Any]:
    """The state on rank 0's host. `keep`: what is evaluated now is what is to be exported, until better comes."""
    if saver is None:
        return {}
    copied = saver.copy(tensors(trainee, optimizer))
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
