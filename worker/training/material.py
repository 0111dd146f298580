"""What a rank feeds its networks with: its share of each batch, on its device, as the network reads it."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import tee

import numpy as np
import torch

from app.contract.distributed import passes
from app.contract.work import RunOrder
from worker.training import augment, data, executors, mixing, normalization, reference, residency, sampling
from worker.training.augment import Pipeline
from worker.training.data import LoadedData
from worker.training.distributed import Ranks
from worker.training.loader import Batch, Loader
from worker.training.loop import Share
from worker.training.mixing import Mix, Partners
from worker.training.normalization import Normalization
from worker.training.notes import Tell, silent
from worker.training.precision import Precision, choose
from worker.training.residency import Residency
from worker.training.sampling import Division, Indices, Portion

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
EVALUATION_BATCH = 256
"""Validation images at once, over all ranks; at least the training batch. The result does not depend on it."""


@dataclass(frozen=True)
class Step:
    """A global batch, and what this rank computes of it."""

    samples: int
    """Of all ranks together."""
    portions: tuple[Portion, ...]

    @cached_property
    def indices_N(self) -> Indices:
        """All that this rank reads."""
        return np.concatenate([portion.indices_N for portion in self.portions])


@dataclass
class Material:
    """The same for every network that the run trains."""

    order: RunOrder
    ranks: Ranks
    precision: Precision
    loaded: LoadedData
    pipeline: Pipeline
    scaling: Normalization
    training: Loader
    validation: Loader
    residency: Residency

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training images."""
        size = self.order.spec.training.batch_size
        return sampling.steps_per_epoch(len(self.loaded.train), size, self.ranks.world)

    @property
    def largest_share(self) -> int:
        """Most images that any rank has at once, in any step."""
        division = self.division
        return sampling.largest_share(len(self.loaded.train), division.batch_size, division.ranks, division.passes)

    @property
    def division(self) -> Division:
        """Into what each global batch is divided."""
        spec = self.order.spec
        return Division(spec.training.batch_size, self.ranks.world, passes(spec.distributed))

    def shares(self, epoch: int, first_batch: int) -> Generator[Share, None, None]:
        """This rank's part of each step of an epoch (from 0), beginning with `first_batch`."""
        training = self.order.spec.training
        batches = sampling.batches(len(self.loaded.train), training.batch_size, self.ranks.world, training.seed, epoch)
        left = [
            Step(len(batch), tuple(sampling.portions(batch, self.ranks.rank, self.division)))
            for batch in batches[first_batch:]
        ]
        if self.pipeline.mixing:
            partners = sampling.partners(np.concatenate(batches))
            mixes = (mixing.plan(self.pipeline, step.indices_N, partners, epoch) for step in left)
            yield from self._mixed(epoch, mixes, left)
            return
        for step, loaded in zip(left, self.training.train(epoch, [step.indices_N for step in left]), strict=True):
            images_NCHW, labels_N = self._on_device(loaded)
            yield self._share(images_NCHW, labels_N, step)

    def _mixed(self, epoch: int, mixes: Iterator[Mix], steps: Sequence[Step]) -> Iterator[Share]:
        """Each mix is drawn when the loader begins with its images, and waits for them."""
        ahead, waiting = tee(mixes)
        loaded = self.training.train(epoch, (mix.reading_R for mix in ahead))
        for step, batch, mix in zip(steps, loaded, waiting, strict=True):
            images_NCHW, labels_N, partners = mix.mixed(*self._on_device(batch))
            yield self._share(images_NCHW, labels_N, step, partners)

    def validation_batches(self, trained: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """This rank's part of the validation images, each once. `trained`: how many images steps compute at a time."""
        images, size = len(self.loaded.validation), self._scored(trained)
        mine = sampling.evaluation_shares(images, size, self.ranks.rank, self.ranks.world)
        for loaded in self.validation.evaluate(mine):
            yield self._on_device(loaded)

    def validation_company(self, trained: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches that this rank computes along, where others have more and all compute each one together: theirs."""
        if not self.ranks.sharded:
            return
        size, images = self._scored(trained), len(self.loaded.validation)
        most, mine = (sampling.evaluation_shares(images, size, rank, self.ranks.world) for rank in (0, self.ranks.rank))
        for loaded in self.validation.evaluate(most[len(mine) :]):
            yield self._on_device(loaded)

    def _scored(self, trained: int) -> int:
        """Images that one rank scores at once. Where all compute each pass together, none can take smaller pieces when

        its memory runs out: there as many as steps have memory for.
        """
        size = max(EVALUATION_BATCH, self.order.spec.training.batch_size) // self.ranks.world
        return min(size, trained) if self.ranks.sharded else size

    def some_validation_images(self) -> torch.Tensor:
        """As evaluation shows them: uint8, N x H x W x C, on the host."""
        chosen = reference.chosen(len(self.loaded.validation))
        (batch,) = self.validation.evaluate([chosen])
        return batch.images_NHWC.cpu()

    def start(self) -> None:
        """Have the loaders' threads before a step takes the memory that their stacks need."""
        self.training.start()
        self.validation.start()

    def close(self) -> None:
        """Stop the loaders' threads, and let go of the images."""
        self.training.close()
        self.validation.close()
        self.residency.close()

    def example(self, channels: int, images: int = 2) -> Share:
        """Black images; two are the smallest batch that every network can be trained on."""
        images_NCHW = torch.zeros(
            images, channels, *self.order.spec.image_size, dtype=self.precision.weights, device=self.ranks.device
        ).to(memory_format=self.memory_format)
        return Share(images_NCHW, torch.zeros(images, dtype=torch.int64, device=self.ranks.device), images)

    @property
    def memory_format(self) -> torch.memory_format:
        """How images and weights lie in memory."""
        return MEMORY_FORMATS[self.order.spec.training.memory_format]

    def _share(
        self, images_NCHW: torch.Tensor, labels_N: torch.Tensor, step: Step, partners: Partners | None = None
    ) -> Share:
        """Laid out as the spec says; images come pixel by pixel."""
        images_NCHW = images_NCHW.contiguous(memory_format=self.memory_format)
        smoothing = self.order.spec.training.label_smoothing
        return Share(images_NCHW, labels_N, step.samples, partners, step.portions, smoothing=smoothing)

    def _on_device(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        device = self.ranks.device
        images_NHWC = batch.images_NHWC.to(device, non_blocking=True)
        labels_N = batch.labels_N.to(device, non_blocking=True)
        return normalization.apply(images_NHWC, self.scaling, self.precision.weights), labels_N


def prepare(order: RunOrder, ranks: Ranks, threads: int, tell: Tell = silent) -> Material:
    """Read the data set and fit what is fitted to it. Raises `bad_dataset`, `bad_spec`."""
    precision = choose(order.spec.training.precision, ranks.device)
    loaded = data.load(order, tell)
    pipeline = augment.compile(order.spec)
    resident = residency.of(loaded, ranks)
    return Material(
        order,
        ranks,
        precision,
        loaded,
        pipeline,
        normalization.fit(loaded.train, pipeline, threads),
        Loader(loaded.train, pipeline, threads, executor=executors.choose(pipeline, ranks.device, resident.training)),
        Loader(
            loaded.validation, pipeline, threads, executor=executors.choose(pipeline, ranks.device, resident.validation)
        ),
        resident,
    )
