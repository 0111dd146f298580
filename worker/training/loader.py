"""Batches made ahead of the network: images read and resampled in threads, in the order they were asked for.

Threads, not processes: OpenCV releases the GIL, and nothing must be pickled, shared or killed.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from worker.training.augment import Pipeline, Plan
from worker.training.geometry import Array
from worker.training.images import Images, Selection

# N = images in the batch, H W = height and width of what the network sees, C = channels

Indices = npt.NDArray[np.int64]
PlanOf = Callable[[Array, Indices], Plan]  # of the sizes of some images, and their numbers

_AHEAD = 2  # batches in the making while the network works on one
_CHUNK = 32  # images that one thread takes at a time
_PLANNED = 512  # images that are planned at once: 3 us each, where it is 20 for 32 at once


Values = TypeVar("Values")
"""What batches are made of: tensors of torch, or NumPy's arrays."""
Values_co = TypeVar("Values_co", covariant=True)


class Making(Protocol[Values_co]):
    """A batch under way."""

    def add(self, start: int, images: Selection, plan: Plan) -> None:
        """Some consecutive images, the first of which is number `start` of the batch. Called from several threads."""

    def result(self) -> Values_co:
        """N x H x W x C, uint8, when all images were added. Does not wait for the device."""
        ...


class Executor(Protocol[Values_co]):
    """A way to make batches."""

    def begin(self, count: int, channels: int) -> Making[Values_co]:
        """A batch of `count` images."""
        ...

    def labels(self, labels_N: Indices) -> Values_co:
        """The labels of a batch, int64, on the host."""
        ...


class Batch(NamedTuple, Generic[Values]):
    """What the network is shown, before normalisation."""

    images_NHWC: Values
    """uint8."""
    labels_N: Values
    """int64."""


class _Planned(NamedTuple):
    """A batch to come, and where its plan stands in that of several."""

    indices_N: Indices
    plan: Future[Plan]
    start: int

    def part(self, first: int, count: int) -> Plan:
        """For `count` images from number `first` of the batch on; waits for the thread that plans."""
        return self.plan.result().part(slice(self.start + first, self.start + first + count))


class _Begun(NamedTuple, Generic[Values]):
    making: Making[Values]
    labels_N: Values
    parts: list[Future[None]]

    def finished(self) -> Batch[Values]:
        for part in self.parts:
            part.result()
        return Batch(self.making.result(), self.labels_N)

    def abandon(self) -> None:
        """Return when no thread works on it any more."""
        for part in self.parts:
            part.cancel()
        for part in self.parts:
            if not part.cancelled():
                part.exception()


class Loader(Generic[Values]):
    """Makes batches of one set of images. The same for any number of threads and any size of batch."""

    def __init__(
        self, images: Images, pipeline: Pipeline, threads: int = 1, *, executor: Executor[Values] | None = None
    ) -> None:
        """`threads` read, and resample or cut; none is started before `start`, or the first batch is asked for.

        `executor`: makes the batches; null: on the host, for torch.
        """
        self._threads = threads
        self._images = images
        self._pipeline = pipeline
        self._executor = executor or _for_torch(pipeline)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")
        self.waited_s = 0.0
        """How long whoever takes the batches has waited for them, up to now."""

    def start(self) -> None:
        """Have all threads now: when memory has become short, there may be no room for a stack."""
        together = Barrier(self._threads)
        for waiting in [self._pool.submit(together.wait) for _ in range(self._threads)]:
            waiting.result()

    def train(self, epoch: int, batches: Iterable[Indices]) -> Iterator[Batch[Values]]:
        """The batches of `epoch`, counted from 0, augmented. A failure to read is raised where its batch would come."""
        return self._ahead(batches, lambda sizes_N2, indices_N: self._pipeline.train_plan(sizes_N2, indices_N, epoch))

    def evaluate(self, batches: Sequence[Indices]) -> Iterator[Batch[Values]]:
        """The batches at evaluation geometry."""
        return self._ahead(batches, lambda sizes_N2, _indices_N: self._pipeline.evaluation_plan(sizes_N2))

    def close(self) -> None:
        """Stop the threads; iterators that are still open cannot go on."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Loader[Values]":
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def _ahead(self, batches: Iterable[Indices], plan_of: PlanOf) -> Iterator[Batch[Values]]:
        with closing(self._made(batches, plan_of)) as made:
            while True:
                begun_s = time.perf_counter()
                batch = next(made, None)
                self.waited_s += time.perf_counter() - begun_s
                if batch is None:
                    return
                yield batch

    def _made(self, batches: Iterable[Indices], plan_of: PlanOf) -> Generator[Batch[Values], None, None]:
        begun: deque[_Begun[Values]] = deque()
        try:
            for planned in self._planned(batches, plan_of):
                begun.append(self._begin(planned))
                if len(begun) > _AHEAD:
                    yield begun.popleft().finished()
            while begun:
                yield begun.popleft().finished()
        finally:
            for rest in begun:
                rest.abandon()

    def _planned(self, batches: Iterable[Indices], plan_of: PlanOf) -> Iterator[_Planned]:
        """The threads work in the order in which they are asked: a plan is begun before all that waits for it."""
        for several in _together(batches):
            joined_N = np.concatenate(several)
            plan = self._pool.submit(plan_of, self._images.sizes_N2[joined_N].astype(np.float64), joined_N)
            starts = np.cumsum([0, *map(len, several)]).tolist()
            yield from (_Planned(indices_N, plan, start) for indices_N, start in zip(several, starts, strict=False))

    def _begin(self, planned: _Planned) -> _Begun[Values]:
        indices_N = planned.indices_N
        making = self._executor.begin(len(indices_N), self._images.channels)

        def add(start: int) -> None:
            part = indices_N[start : start + _CHUNK].tolist()
            making.add(start, Selection(self._images, part), planned.part(start, len(part)))

        parts = [self._pool.submit(add, start) for start in range(0, len(indices_N), _CHUNK)]
        return _Begun(making, self._executor.labels(self._images.labels_N[indices_N]), parts)


def _for_torch(pipeline: Pipeline) -> Any:
    from worker.training.executors import OnHost

    return OnHost(pipeline)


def _together(batches: Iterable[Indices]) -> Iterator[list[Indices]]:
    """The batches in their order, as many at once as are planned at once."""
    several: list[Indices] = []
    for indices_N in batches:
        several.append(np.asarray(indices_N, np.int64))
        if sum(map(len, several)) >= _PLANNED:
            yield several
            several = []
    if several:
        yield several
