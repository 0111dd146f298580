"""The gradients of a whole step, summed over pieces and ranks, right before the optimizer uses them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def metrics(scaler: torch.amp.GradScaler, max_norm: float | None) -> tuple[str, ...]:
    """Names of what `finished` tells."""
    norm = () if max_norm is None else ("gradient_norm",)
    return (*norm, "loss_scale") if scaler.is_enabled() else norm


def finished(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, max_norm: float | None
) -> Sequence[Tensor]:
    """Clip them, and tell their norm before that and what the loss was scaled by; scalars left on the device.

    The norm is that of all weights together, of gradients that are no longer scaled. Where one of them is no finite
    number, so is the norm: the scaler then leaves the step out.
    """
    told = []
    if max_norm is not None:
        scaler.unscale_(optimizer)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        told.append(torch.nn.utils.clip_grad_norm_(weights, max_norm))
    if scaler.is_enabled():
        device = optimizer.param_groups[0]["params"][0].device
        told.append(scaler.scale(torch.ones((), device=device)))  # the host would have to wait for `get_scale`
    return told
