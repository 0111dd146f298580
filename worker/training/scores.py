"""How many validation images of each class the finished networks tell right, and how sure that is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from app.contract.report import MOST_CLASSES, ClassChange
from app.contract.work import RunOrder
from worker.training import augment, data, normalization
from worker.training.card import ModelCard
from worker.training.loader import Loader
from worker.training.memory import AsManyAsFit
from worker.training.normalization import Normalization

# N = images in a batch, K = classes

EVALUATION_BATCH = 256
Z_95 = 1.959963984540054
"""Standard deviations within which 95 % of a normal distribution lie."""

Predict = Callable[[torch.Tensor], torch.Tensor]
"""uint8 images, N x H x W x C, to the class of each."""


@dataclass(frozen=True)
class Score:
    """Of one network, over all validation images."""

    right_K: npt.NDArray[np.int64]
    images_K: npt.NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        return int(self.right_K.sum()) / int(self.images_K.sum())

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(int(self.right_K.sum()), int(self.images_K.sum()))


def wilson(right: int, images: int) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson, JASA 22, 1927): within [0, 1], and no point at its ends."""
    share, squared = right / images, Z_95 * Z_95
    middle = (share + squared / (2 * images)) / (1 + squared / images)
    half = Z_95 / (1 + squared / images) * sqrt(share * (1 - share) / images + squared / (4 * images * images))
    return max(0.0, middle - half), min(1.0, middle + half)


def scores(order: RunOrder, networks: Sequence[Predict], classes: int) -> list[Score]:
    """Of each network, in one pass over the validation images."""
    images = data.load(order).validation
    right = [torch.zeros(classes, dtype=torch.int64) for _ in networks]
    fitting = [AsManyAsFit() for _ in networks]
    with Loader(images, augment.compile(order.spec), threads=torch.get_num_threads()) as loader:
        for images_NHWC, labels_N in loader.evaluate(_batches(len(images))):
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


def class_changes(names: Sequence[str], before: Score | None, after: Score) -> list[ClassChange]:
    """Of each class with validation images; of very many, those that lost most."""
    changes = [
        ClassChange(
            name=name,
            images=int(count),
            before=None if before is None else int(before.right_K[index]) / int(count),
            after=int(after.right_K[index]) / int(count),
        )
        for index, (name, count) in enumerate(zip(names, after.images_K, strict=True))
        if count
    ]
    if len(changes) <= MOST_CLASSES:
        return changes
    worst = sorted(range(len(changes)), key=lambda index: changes[index].after - (changes[index].before or 0.0))
    return [changes[index] for index in sorted(worst[:MOST_CLASSES])]


def _hits(network: Predict, classes: int, images_NHWC: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    return torch.bincount(labels_N[network(images_NHWC) == labels_N], minlength=classes)


def _batches(images: int) -> list[npt.NDArray[np.int64]]:
    everything = np.arange(images, dtype=np.int64)
    return [everything[start : start + EVALUATION_BATCH] for start in range(0, images, EVALUATION_BATCH)]
