"""Adam with decoupled weight decay."""

import torch
from torch import nn

from app.contract.training import AdamW
from worker.training.optim import parameter_groups


def build(spec: AdamW, model: nn.Module) -> torch.optim.Optimizer:
    """torch's AdamW; the rate is set before every step."""
    return torch.optim.AdamW(
        parameter_groups(model, spec.weight_decay),
        lr=spec.learning_rate,
        betas=spec.betas,
        eps=spec.epsilon,
        fused=spec.fused,
    )
