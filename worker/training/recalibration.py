"""Running statistics of batch normalisation, found anew: of a trained network that was made to compute something else.

They are those of activations that do not come any more. Trained on, they would come right in time; until then each
evaluation would be of a network that is worse than it is.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from worker.training.loop import Share, Trainee

BATCHES = 16
"""Training batches that are looked at, or as many as an epoch has. Of 64 images each they are 1,024: the variance of a
channel that is one number an image is then known to sqrt(2 / 1024) = 4%."""


@torch.no_grad()
def recalibrate(trainee: Trainee, shares: Iterable[Share], tick: Callable[[], None]) -> None:
    """Give each batch normalisation the mean statistics of this rank's shares, all of the same weight.

    Everything else is in evaluation mode: nothing is drawn, and no other buffer changes.
    """
    network = trainee.network
    was_training = network.training
    try:
        with _averaging(network.eval()), trainee.micro_batch.fitting():
            for share in shares:
                for piece in share.pieces(trainee.micro_batch):
                    trainee.methods.begin_pass(piece.counts)
                    with trainee.precision.autocast():
                        network(piece.images_NCHW)
                tick()
    finally:
        network.train(was_training)


@contextmanager
def _averaging(network: nn.Module) -> Iterator[None]:
    """Batch normalisations with running statistics forget them and average those of each batch that comes."""
    layers = [each for each in network.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    momenta = [each.momentum for each in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's sign for a cumulative average
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
