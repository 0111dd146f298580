"""A DataLoader with 2 workers that stay alive, as a peer's training script would have it."""

from collections.abc import Callable, Iterable, Iterator

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.pipelines import BATCH, WORKERS
from benchmarks.pipelines.child import Batches
from benchmarks.pipelines.source import Image, Photographs

Transform = Callable[[Image], torch.Tensor]


class _Transformed(Dataset[torch.Tensor]):
    def __init__(self, photographs: Photographs, transform: Transform) -> None:
        self._photographs = photographs
        self._transform = transform

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._transform(self._photographs.read(index))


class _Shuffled(Sampler[int]):
    """As many numbers as a round asks for, each photograph as often as any other."""

    count = 0

    def __init__(self, photographs: int) -> None:
        self._photographs = photographs

    def __iter__(self) -> Iterator[int]:
        while True:
            order = torch.randperm(self._photographs).tolist()
            yield from order[: self.count]
            self.count -= len(order)
            if self.count <= 0:
                return

    def __len__(self) -> int:
        return self.count


def batches(photographs: Photographs, transform: Transform, finish: Transform | None = None) -> Batches:
    """Rounds through one DataLoader. `finish` is done to each batch by the process that takes them."""
    sampler = _Shuffled(len(photographs))
    loader = DataLoader(
        _Transformed(photographs, transform),
        batch_size=BATCH,
        sampler=sampler,
        num_workers=WORKERS,
        persistent_workers=True,
        worker_init_fn=_one_thread,
    )

    def make(count: int) -> Iterable[torch.Tensor]:
        sampler.count = count
        for batch in loader:
            yield finish(batch) if finish else batch

    return make


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)  # as both libraries advise; torch limits itself to one thread in a worker
