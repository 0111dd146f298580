"""What the network is fed with: whole batches on the host, in the order that every other way to distribute has."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import tee

import numpy as np
import numpy.typing as npt

from app.contract.work import RunOrder
from worker.tensorflow.arrays import Array, InArrays
from worker.training import augment, data, fitting, pairing, reference, sampling
from worker.training.augment import Pipeline
from worker.training.data import LoadedData
from worker.training.fitting import Normalization
from worker.training.loader import Loader
from worker.training.notes import Tell, silent
from worker.training.pairing import Mix
from worker.training.sampling import Division

# N = samples of a step, R = these and the partners that are not among them, D = devices

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """One global batch. `edges_D1`: device d has the samples from edges[d] to edges[d + 1], or none."""

    images_RHWC: Array
    labels_R: Array
    edges_D1: Array
    places_N: Array
    """Where each sample's partner stands; its own place where nothing is mixed."""
    mixing_N6: Array
    """(weight of the own label, share kept of each pixel, top, left, height, width of the partner's box)."""


@dataclass
class Material:
    """The same for every network that the run trains."""

    order: RunOrder
    loaded: LoadedData
    pipeline: Pipeline
    scaling: Normalization
    training: Loader[Array]
    validation: Loader[Array]

    @property
    def world(self) -> int:
        """How many devices share a batch."""
        return self.order.processes

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training images."""
        size = self.order.spec.training.batch_size
        return sampling.steps_per_epoch(len(self.loaded.train), size, self.world)

    def steps(self, epoch: int, first_batch: int) -> Generator[Step, None, None]:
        """The steps of an epoch (from 0), beginning with `first_batch`."""
        training = self.order.spec.training
        batches = sampling.batches(len(self.loaded.train), training.batch_size, self.world, training.seed, epoch)
        left = batches[first_batch:]
        if self.pipeline.mixing:
            partners = sampling.partners(np.concatenate(batches))
            ahead, waiting = tee(pairing.plan(self.pipeline, batch_N, partners, epoch) for batch_N in left)
            readings = (mix.reading_R for mix in ahead)
            for loaded, mix in zip(self.training.train(epoch, readings), waiting, strict=True):
                yield self._step(loaded.images_NHWC, loaded.labels_N, mix)
            return
        for loaded in self.training.train(epoch, left):
            yield self._step(loaded.images_NHWC, loaded.labels_N)

    def evaluation(self) -> Iterator[Step]:
        """The validation images, each once: as many at a time as training has memory for."""
        size = self.order.spec.training.batch_size
        batches = sampling.evaluation_shares(len(self.loaded.validation), size, 0, 1)
        for loaded in self.validation.evaluate(batches):
            yield self._step(loaded.images_NHWC, loaded.labels_N)

    def some_validation_images(self) -> Array:
        """As evaluation shows them: uint8, N x H x W x C."""
        (batch,) = self.validation.evaluate([reference.chosen(len(self.loaded.validation))])
        return batch.images_NHWC

    def close(self) -> None:
        """Stop the loaders' threads."""
        self.training.close()
        self.validation.close()

    def _step(self, images_RHWC: Array, labels_R: Array, mix: Mix | None = None) -> Step:
        count = len(mix.places_N) if mix else len(labels_R)
        edges_D1 = np.cumsum([0, *self._parts(count)])
        if mix is None:
            return Step(images_RHWC, labels_R, edges_D1, np.arange(count), _nothing_mixed(count))
        blend = mix.blend
        mixing_N6 = np.column_stack([blend.weights_N, blend.keep_N, blend.boxes_N4])
        return Step(images_RHWC, labels_R, edges_D1, mix.places_N, mixing_N6)

    def _parts(self, count: int) -> Iterator[int]:
        """How many of the samples of a batch each device has: as many as a process of torch's would have."""
        division = Division(self.order.spec.training.batch_size, self.world)
        for device in range(self.world):
            (portion,) = sampling.portions(np.arange(count), device, division)
            yield len(portion.indices_N) if portion.counts else 0


def prepare(order: RunOrder, threads: int, tell: Tell = silent) -> Material:
    """Read the data set and fit what is fitted to it. Raises `bad_dataset`, `bad_spec`."""
    loaded = data.load(order, tell)
    pipeline = augment.compile(order.spec)
    executor = InArrays(pipeline)
    return Material(
        order,
        loaded,
        pipeline,
        fitting.fit(loaded.train, pipeline, threads),
        Loader(loaded.train, pipeline, threads, executor=executor),
        Loader(loaded.validation, pipeline, threads, executor=executor),
    )


def _nothing_mixed(count: int) -> Array:
    return np.tile([1.0, 1.0, 0.0, 0.0, 0.0, 0.0], (count, 1))
