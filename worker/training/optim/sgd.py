"""Stochastic gradient descent with momentum."""

import torch
from torch import nn

from app.contract.training import Sgd
from worker.training.optim import parameter_groups


def build(spec: Sgd, model: nn.Module) -> torch.optim.Optimizer:
    """torch's SGD; the rate is set before every step."""
    optimizer = torch.optim.SGD(
        parameter_groups(model, spec.weight_decay),
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        fused=spec.fused,
    )
    if spec.fused and spec.momentum:
        _begin_at_rest(optimizer)
    return optimizer


def _begin_at_rest(optimizer: torch.optim.Optimizer) -> None:
    """Momentum of 0 in place of none: the first step is the same.

    torch's fused kernel (2.11 to 2.13) makes room for the momentum in its first step, and leaves in it whatever was in
    memory when a gradient scaler leaves that step out, as it often does under fp16.
    """
    for group in optimizer.param_groups:
        for weight in group["params"]:
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
