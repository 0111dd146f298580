"""Batch normalisation over the images of all ranks, on CPUs too: torch's own needs GPUs.

Mean and variance are those of all images of a pass, however they are divided; gradients flow back to all of them
(arXiv 1502.03167, section 3). A layer keeps its class, its names and the activation that it may have inside: only what
it computes while it is trained is replaced, and everything is as before when training ends.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from app.contract.distributed import Ddp, Distributed
from worker.training.attached import Attached, Forward, Forwards
from worker.training.distributed import Ranks
from worker.training.errors import bad_spec
from worker.training.libraries import BatchNormAct2d

# C = channels, V = values of a channel: images x height x width

NAME = "sync_batchnorm"


def hang(network: nn.Module, distributed: Distributed, ranks: Ranks) -> dict[str, Attached]:
    """What the spec asks for, by name, hung on the network: nothing, or this."""
    wanted = isinstance(distributed, Ddp) and distributed.sync_batchnorm
    return {NAME: Synchronised(network, ranks)} if wanted else {}


class Synchronised(Attached):
    """All batch normalisations of a network. Every rank must train the same network, pass by pass."""

    def __init__(self, network: nn.Module, ranks: Ranks) -> None:
        self._ranks = ranks
        self._counts = True
        self._forwards = Forwards()
        for layer in network.modules():
            if isinstance(layer, _BatchNorm):
                self._forwards.replace(layer, partial(self._over_all, layer))

    def begin_pass(self, counts: bool) -> None:
        self._counts = counts

    def detach(self) -> None:
        self._forwards.restore()

    def _over_all(self, layer: _BatchNorm, forward: Forward) -> Forward:
        rest = _behind(layer)

        def run(images_NC: Tensor) -> Any:
            if not layer.training:
                return forward(images_NC)
            normal, mean_C, variance_C, count = Normalise.apply(
                images_NC, layer.weight, layer.bias, layer.eps, self._ranks, self._counts
            )
            _remember(layer, mean_C, variance_C, count)
            return rest(normal)

        return run


def _behind(layer: _BatchNorm) -> Callable[[Tensor], Tensor]:
    """What a layer does with what it has normalised. A class that computes in a way of its own is refused."""
    forward = type(layer).forward
    if forward is BatchNormAct2d.forward:
        return lambda normal: layer.act(layer.drop(normal))  # type: ignore[no-any-return, operator]
    if forward is _BatchNorm.forward:
        return lambda normal: normal
    detail = f"{type(layer).__name__} normalises in its own way: leave sync_batchnorm out, or use another model."
    raise bad_spec("/distributed/sync_batchnorm", detail, "not_supported")


@torch.no_grad()
def _remember(layer: _BatchNorm, mean_C: Tensor, variance_C: Tensor, count: Tensor) -> None:
    """The running statistics, as torch keeps them: with the unbiased variance."""
    if layer.running_mean is None or layer.running_var is None:
        return
    momentum = layer.momentum
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        momentum = 1.0 / float(layer.num_batches_tracked) if momentum is None else momentum
    share = 0.0 if momentum is None else momentum
    layer.running_mean.lerp_(mean_C.to(layer.running_mean), share)
    unbiased_C = variance_C * (count / (count - 1).clamp(min=1))
    layer.running_var.lerp_(unbiased_C.to(layer.running_var), share)


class Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance are those of all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        images_NC: Tensor,
        weight_C: Tensor | None,
        bias_C: Tensor | None,
        eps: float,
        ranks: Ranks,
        counts: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        exact = torch.promote_types(images_NC.dtype, torch.float32)
        mean_C, variance_C, count = _statistics(images_NC.to(exact), ranks, counts)
        inverse_C = torch.rsqrt(variance_C + eps)
        ctx.save_for_backward(images_NC, weight_C, mean_C, inverse_C, count)
        ctx.ranks, ctx.counts, ctx.has_bias = ranks, counts, bias_C is not None
        normal = F.batch_norm(images_NC, mean_C, variance_C, weight_C, bias_C, training=False, eps=eps)
        ctx.mark_non_differentiable(mean_C, variance_C, count)
        return normal, mean_C, variance_C, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NC: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        images_NC, weight_C, mean_C, inverse_C, count = ctx.saved_tensors
        over = _but_channels(images_NC)
        gradient = gradient_NC.to(mean_C.dtype)
        normal_NC = (images_NC.to(mean_C.dtype) - _wide(mean_C, images_NC)) * _wide(inverse_C, images_NC)
        own_2C = torch.stack([gradient.sum(over), (gradient * normal_NC).sum(over)])
        mean_2C = ctx.ranks.total(own_2C) / count
        scale_C = inverse_C if weight_C is None else inverse_C * weight_C.to(inverse_C.dtype)
        if ctx.counts:  # else these images have no part in the statistics, through which gradients would come back
            gradient = gradient - _wide(mean_2C[0], images_NC) - normal_NC * _wide(mean_2C[1], images_NC)
        of_images = (gradient * _wide(scale_C, images_NC)).to(images_NC.dtype)
        of_weight = own_2C[1].to(weight_C.dtype) if weight_C is not None else None
        of_bias = own_2C[0].to(weight_C.dtype) if ctx.has_bias else None
        return of_images, of_weight, of_bias, None, None, None


def _statistics(images_NC: Tensor, ranks: Ranks, counts: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and number of the values of each channel, over all ranks.

    Each rank tells its own three, put together as Chan, Golub and LeVeque (1979) do: sums of squares would lose digits
    where the mean is large. The host does not wait for the device.
    """
    variance_C, mean_C = torch.var_mean(images_NC, _but_channels(images_NC), correction=0)
    values = images_NC.numel() // images_NC.shape[1] if counts else 0
    told_RK = ranks.rows(torch.cat([mean_C, variance_C, torch.full_like(mean_C[:1], values)]))
    means_RC, variances_RC = told_RK[:, :-1].chunk(2, 1)
    count = told_RK[:, -1].sum()
    shares_R1 = told_RK[:, -1:] / count
    mean_C = (means_RC * shares_R1).sum(0)
    variance_C = ((variances_RC + (means_RC - mean_C).square()) * shares_R1).sum(0)
    return mean_C, variance_C, count


def _but_channels(images_NC: Tensor) -> list[int]:
    return [axis for axis in range(images_NC.ndim) if axis != 1]


def _wide(values_C: Tensor, images_NC: Tensor) -> Tensor:
    return values_C.view(1, -1, *[1] * (images_NC.ndim - 2))
