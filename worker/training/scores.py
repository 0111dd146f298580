"""How many validation images of each class the finished networks tell right, and how sure that is."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from app.contract.work import RunOrder
from worker.training import augment, data, normalization
from worker.training.accuracy import EVALUATION_BATCH, Z_95, Score, batches, class_changes, wilson
from worker.training.card import ModelCard
from worker.training.loader import Loader
from worker.training.memory import AsManyAsFit
from worker.training.normalization import Normalization

__all__ = ["EVALUATION_BATCH", "Z_95", "Predict", "Score", "class_changes", "scores", "torch_network", "wilson"]

# N = images in a batch, K = classes

Predict = Callable[[torch.Tensor], torch.Tensor]
"""uint8 images, N x H x W x C, to the class of each."""


def scores(order: RunOrder, networks: Sequence[Predict], classes: int) -> list[Score]:
    """Of each network, in one pass over the validation images."""
    images = data.load(order).validation
    right = [torch.zeros(classes, dtype=torch.int64) for _ in networks]
    fitting = [AsManyAsFit() for _ in networks]
    with Loader[torch.Tensor](images, augment.compile(order.spec), threads=torch.get_num_threads()) as loader:
        for images_NHWC, labels_N in loader.evaluate(batches(len(images))):
            for index, network in enumerate(networks):
                hits = partial(_hits, network, classes)
                right[index] += fitting[index].sum(hits, images_NHWC, labels_N)
    images_K = np.bincount(images.labels_N, minlength=classes)
    return [Score(each.numpy(), images_K) for each in right]


def torch_network(network: nn.Module, card: ModelCard) -> Predict:
    """A network as its card has it: normalised, on its device, in the precision of its weights."""
    scaling = Normalization(card.normalization.mean, card.normalization.std)
    weight = next(network.parameters())

    @torch.no_grad()
    def predict(images_NHWC: torch.Tensor) -> torch.Tensor:
        images_NCHW = normalization.apply(images_NHWC.to(weight.device), scaling, weight.dtype)
        return torch.as_tensor(network(images_NCHW).argmax(1).cpu())

    return predict


def _hits(network: Predict, classes: int, images_NHWC: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    return torch.bincount(labels_N[network(images_NHWC) == labels_N], minlength=classes)
