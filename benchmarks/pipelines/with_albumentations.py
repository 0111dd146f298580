"""albumentations 2.0.8 in a DataLoader with 2 workers.

python -m benchmarks.pipelines.with_albumentations SOURCE normalized|uint8

`normalized` is the form of its documentation. `uint8` leaves normalising to the process that takes the batches, so that
a quarter of the bytes go through the pipe.
"""

import os
import sys

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version

import albumentations as A
import torch
from albumentations.pytorch import ToTensorV2

from benchmarks.pipelines import DEGREES, MEAN, SCALE, SIZE, STD
from benchmarks.pipelines.batch import normalized
from benchmarks.pipelines.child import serve
from benchmarks.pipelines.loading import batches
from benchmarks.pipelines.source import Image, Photographs


def main() -> None:
    """Crop first, so that all else is done to the small image."""
    source, form = sys.argv[1:]
    last = [A.Normalize(MEAN, STD)] if form == "normalized" else []
    composed = A.Compose(
        [
            A.RandomResizedCrop((SIZE, SIZE), scale=SCALE),
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Rotate(DEGREES, p=1.0),
            *last,
            ToTensorV2(),
        ]
    )

    def transform(image: Image) -> torch.Tensor:
        made: torch.Tensor = composed(image=image)["image"]
        return made

    serve(batches(Photographs(source), transform, None if form == "normalized" else normalized))


if __name__ == "__main__":
    main()
