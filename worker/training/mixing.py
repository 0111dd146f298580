"""Images and labels mixed with their partners', on the device: the executor of `mixup` and `cutmix`.

Partners are neighbours in the epoch's order (`sampling.partners`), so neither the size of batches nor the number of
ranks has a part in who is mixed with whom. A partner that is in another batch, or in another rank's share, is loaded
here too, and augmented as it is there. Mixing is linear, so it may come before or after normalisation; it comes after,
in the precision of the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from worker.training import pairing
from worker.training.augment import Pipeline
from worker.training.pairing import Indices

# N = samples of this rank in a step, R = these and the partners from elsewhere, K = classes


@dataclass(frozen=True)
class Partners:
    """The labels that mixed images have beside their own."""

    labels_N: torch.Tensor
    weights_N: torch.Tensor
    """Of the image's own label, in [0, 1]; that of the partner's is the rest."""

    def loss(self, logits_NK: torch.Tensor, labels_N: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """The mean over the samples of the cross entropy to both labels, weighted.

        `smoothing`: the share of the answer that all classes have alike.
        """
        log_NK = F.log_softmax(logits_NK, 1, dtype=self.weights_N.dtype)
        own_N, other_N = (F.nll_loss(log_NK, each_N, reduction="none") for each_N in (labels_N, self.labels_N))
        told = torch.lerp(other_N, own_N, self.weights_N).mean()
        return torch.lerp(told, -log_NK.mean(), smoothing) if smoothing else told

    def larger(self, labels_N: torch.Tensor) -> torch.Tensor:
        """Of both labels the one with more weight; at a half each, the image's own."""
        return torch.where(self.weights_N >= 0.5, labels_N, self.labels_N)

    def cut(self, pieces: int | tuple[int, ...]) -> Iterator["Partners"]:
        """In pieces whose sizes differ by at most 1, or at these places."""
        both = zip(self.labels_N.tensor_split(pieces), self.weights_N.tensor_split(pieces), strict=True)
        return (Partners(labels_M, weights_M) for labels_M, weights_M in both)


class Mix(pairing.Mix):
    """How one share of a step is mixed, and the doing of it."""

    def mixed(self, images_RCHW: torch.Tensor, labels_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Partners]:
        """Of what was read, the share's images mixed, their own labels, and their partners'.

        Images are floats, on any device. What an image keeps whole keeps its bits. The host waits for nothing.
        """
        places_N, weights_N, *area = self._on(images_RCHW)
        count = len(places_N)
        images_RHWC = images_RCHW.permute(0, 2, 3, 1)  # as they lie in memory, and as an index leaves them
        partners_NHWC = images_RHWC.index_select(0, places_N.long())
        mixed_NHWC = torch.lerp(partners_NHWC, images_RHWC[:count], self._own(*area))
        partners = Partners(labels_R.index_select(0, places_N.long()), weights_N)
        return mixed_NHWC.permute(0, 3, 1, 2), labels_R[:count], partners

    def _on(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        """Places, weights, what is kept, and the boxes, in one copy; floats count beyond all pixels and places."""
        table_7N = np.stack([self.places_N, self.blend.weights_N, self.blend.keep_N, *self.blend.boxes_N4.T])
        table = torch.from_numpy(table_7N)
        if images.device.type == "cuda":
            table = table.pin_memory()
        return iter(table.to(images.device, non_blocking=True).to(images.dtype))

    def _own(self, keep_N: torch.Tensor, *boxes_4N: torch.Tensor) -> torch.Tensor:
        """The part of each pixel that is the image's own, as N x H x W x 1; H and W are 1 where no box is."""
        keep_N11 = keep_N[:, None, None]
        if not self.blend.boxes_N4.any():
            return keep_N11[..., None]
        top_N, left_N, height_N, width_N = boxes_4N
        rows_NH = _inside(top_N, height_N, self.blend.size[0])
        columns_NW = _inside(left_N, width_N, self.blend.size[1])
        return keep_N11.masked_fill(rows_NH[:, :, None] & columns_NW[:, None, :], 0)[..., None]


def _inside(starts_N: torch.Tensor, lengths_N: torch.Tensor, size: int) -> torch.Tensor:
    """Which of `size` rows or columns are in the box of each image."""
    each = torch.arange(size, device=starts_N.device)
    return (each >= starts_N[:, None]) & (each < (starts_N + lengths_N)[:, None])


def plan(pipeline: Pipeline, share_N: Indices, partners: Indices, epoch: int) -> Mix:
    """How the samples of a share are mixed in `epoch`, from 0. `partners`: those of all samples, by sample."""
    planned = pairing.plan(pipeline, share_N, partners, epoch)
    return Mix(planned.reading_R, planned.places_N, planned.blend)
