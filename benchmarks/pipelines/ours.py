"""Our pipeline as a training process has it: the loader's threads, normalised by the process that takes the batches.

python -m benchmarks.pipelines.ours SOURCE

The order of the list is that of the peers. Normalising is what a rank does on its device, here the CPU.
"""

# ruff: noqa: E402 - after environment.prepare()

import sys
from collections.abc import Iterable
from typing import Any

from worker.training import environment

environment.prepare()  # as every training process begins, before torch is loaded

import numpy as np
import torch

from app.contract.job import JobSpec
from benchmarks.pipelines import BATCH, DEGREES, MEAN, SCALE, SIZE, STD, WORKERS
from benchmarks.pipelines.child import Batches, serve
from worker.training import augment, normalization
from worker.training.images import Images
from worker.training.loader import Loader

POLICY: list[dict[str, Any]] = [
    {"kind": "random_crop", "size": [SIZE, SIZE], "scale": list(SCALE)},
    {"kind": "random_flip", "axis": "horizontal"},
    {"kind": "random_flip", "axis": "vertical"},
    {"kind": "random_rotate", "degrees": DEGREES},
    {"kind": "normalize", "mean": list(MEAN), "std": list(STD)},
]


def spec(dataset: dict[str, Any]) -> JobSpec:
    """A job with the policy of the benchmark."""
    model = {"kind": "timm", "name": "resnet10t"}
    return JobSpec.model_validate(
        {"dataset": dataset, "model": model, "augment": POLICY, "training": {"epochs": 1, "batch_size": BATCH}}
    )


def batches(images: Images, job: JobSpec) -> Batches:
    """Rounds through one loader; each counts as an epoch, so that each draws other numbers."""
    pipeline = augment.compile(job)
    scaling = normalization.fit(images, pipeline, WORKERS)
    loader = Loader(images, pipeline, WORKERS)
    rounds = iter(range(2**32))

    def make(count: int) -> Iterable[torch.Tensor]:
        epoch = next(rounds)
        order = np.resize(np.random.default_rng(epoch).permutation(len(images)), count).astype(np.int64)
        for batch in loader.train(epoch, np.split(order, range(BATCH, count, BATCH))):
            yield normalization.apply(batch.images_NHWC, scaling, torch.float32)

    return make


def in_memory(path: str) -> Images:
    """Photographs of a .npy file, which are all of one size."""
    images_NHWC = np.load(path)
    count, height, width, channels = images_NHWC.shape
    sizes_N2 = np.tile(np.array([height, width], np.int64), (count, 1))
    return Images(np.zeros(count, np.int64), sizes_N2, channels, lambda index: images_NHWC[index])


def main() -> None:
    """Answer for photographs in memory."""
    torch.set_num_threads(WORKERS)
    serve(batches(in_memory(sys.argv[1]), spec({"kind": "folder", "path": "unused"})))


if __name__ == "__main__":
    main()
