"""Loss and accuracy on the validation images: each exactly once over all ranks, sums in fp64."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from worker.training.distributed import Ranks
from worker.training.memory import AsManyAsFit
from worker.training.precision import Precision
from worker.training.rows import Score

__all__ = ["Score", "evaluate", "row"]


def row(loss: torch.Tensor, logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """(sum of losses, right answers, samples) of a batch with mean `loss`, in fp64, left on the device."""
    right = (logits_NK.argmax(1) == labels_N).sum()
    samples = len(labels_N)
    return torch.stack([loss.detach().double() * samples, right.double(), torch.full_like(right, samples).double()])


def evaluate(
    network: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    ranks: Ranks,
    precision: Precision,
    tick: Callable[[], None],
    company: Iterable[tuple[torch.Tensor, torch.Tensor]] = (),
) -> Score:
    """Score `network` on this rank's `batches` of (images_NCHW, labels_N), and add up over the ranks.

    A batch that does not fit into memory is scored in pieces, where no rank waits for another. Where all compute each
    pass together, `company` are the passes that others make more than this rank: they have no part in the sums.
    """
    ranks.share_buffers(network)
    network.eval()
    sums_3 = torch.zeros(3, dtype=torch.float64, device=ranks.device)

    def score(images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
        with precision.autocast():
            logits_NK = network(images_NCHW)
            loss = F.cross_entropy(logits_NK, labels_N)  # autocast computes it in fp32
        return row(loss, logits_NK, labels_N)

    summed = score if ranks.sharded else partial(AsManyAsFit().sum, score)
    with torch.no_grad(), ranks.evaluating(network):
        for batch in batches:
            sums_3 += summed(*batch)
            tick()
        for batch in company:
            score(*batch)
            tick()
    network.train()
    loss_sum, right, samples = ranks.sum_later(sums_3.cpu()).result().tolist()
    return Score(loss_sum / samples, right / samples)
