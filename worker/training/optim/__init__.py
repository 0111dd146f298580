"""Optimizers and learning-rate schedules. A kind is a file with `build`; its fields are in app/contract/training.py.

An optimizer's is `build(spec, model) -> torch.optim.Optimizer`. A schedule's is `build(spec, length) -> Schedule`, a
function from the step (counted from 1) to a factor of the peak rate; the warm-up is put before it here, once for all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.contract.training import Training
from worker.training.plugins import build

if TYPE_CHECKING:  # schedules serve both libraries; only optimizers are torch's own
    import torch
    from torch import nn

Schedule = Callable[[float], float]
"""From the steps made since the warm-up, to the share of the peak rate for the next one."""


@dataclass(frozen=True)
class Length:
    """How long the part of training behind the warm-up is, in optimizer steps."""

    steps: float
    steps_per_epoch: int


def make_optimizer(training: Training, model: "nn.Module") -> "torch.optim.Optimizer":
    """The optimizer of the spec over the trainable parameters of `model`."""
    optimizer: torch.optim.Optimizer = build("optim", training.optimizer, model)
    return optimizer


def make_rate(training: Training, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate of each optimizer step, counted from 1: a linear warm-up, then the spec's schedule."""
    warmup = training.schedule.warmup_epochs * steps_per_epoch
    length = Length(max(training.epochs * steps_per_epoch - warmup, 1), steps_per_epoch)
    schedule: Schedule = build("optim", training.schedule, length)
    peak = training.optimizer.learning_rate

    def rate(step: int) -> float:
        return peak * (step / warmup if step < warmup else schedule(max(step - 1 - warmup, 0)))

    return rate


def parameter_groups(model: "nn.Module", weight_decay: float) -> list[dict[str, Any]]:
    """Weights that decay and weights that do not: biases and normalisation weights are the ones of one dimension."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
