"""Stochastic gradient descent with momentum, one fused kernel for all weights."""

import torch
from torch import nn

from app.contract.training import Sgd
from worker.training.optim import parameter_groups


def build(spec: Sgd, model: nn.Module) -> torch.optim.Optimizer:
    """torch's SGD; the rate is set before every step."""
    return torch.optim.SGD(
        parameter_groups(model, spec.weight_decay),
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        fused=True,
    )
