"""Stochastic gradient descent with momentum, one fused kernel for all weights."""

import torch
from torch import nn

from app.contract.training import Sgd
from worker.training.errors import bad_spec
from worker.training.optim import parameter_groups


def build(spec: Sgd, model: nn.Module) -> torch.optim.Optimizer:
    """torch's SGD; the rate is set before every step. Raises `bad_spec` for nesterov without momentum."""
    if spec.nesterov and not spec.momentum:
        raise bad_spec("/training/optimizer/nesterov", "nesterov needs a momentum above 0.", "needs_momentum")
    return torch.optim.SGD(
        parameter_groups(model, spec.weight_decay),
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        fused=True,
    )
