"""Kornia on the CPU.

python -m benchmarks.pipelines.with_kornia SOURCE batch|image

`batch`: whole batches in one process, with torch's threads on all cores, as its documentation has it for a GPU.
`image`: one by one in a DataLoader with 2 workers.
"""

import sys
from collections.abc import Iterable

import kornia.augmentation as K
import numpy as np
import torch

from benchmarks.pipelines import BATCH, DEGREES, MEAN, SCALE, SIZE, STD, WORKERS, loading
from benchmarks.pipelines.child import Batches, serve
from benchmarks.pipelines.source import Image, Photographs


def main() -> None:
    """float32 from the start: Kornia takes nothing else."""
    source, form = sys.argv[1:]
    composed = K.AugmentationSequential(
        K.RandomResizedCrop((SIZE, SIZE), scale=SCALE),
        K.RandomHorizontalFlip(p=0.5),
        K.RandomVerticalFlip(p=0.5),
        K.RandomRotation(DEGREES, p=1.0),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
        data_keys=["input"],
    )

    @torch.inference_mode()
    def transform(images_NHWC: Image) -> torch.Tensor:
        images_NCHW = (
            torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous()
        )  # else its crop takes thrice as long
        made: torch.Tensor = composed(images_NCHW.float().div_(255))
        return made

    photographs = Photographs(source)
    if form == "batch":
        serve(_by_the_batch(photographs, transform))
    else:
        serve(loading.batches(photographs, lambda image: transform(image[None])[0]))


def _by_the_batch(photographs: Photographs, transform: loading.Transform) -> Batches:
    torch.set_num_threads(WORKERS)

    def make(count: int) -> Iterable[torch.Tensor]:
        for start in range(0, count, BATCH):
            images = [photographs.read(index) for index in range(start, min(start + BATCH, count))]
            yield transform(np.stack(images))

    return make


if __name__ == "__main__":
    main()
