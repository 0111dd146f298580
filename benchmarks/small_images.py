"""A data set of many small PNG files: `python -m benchmarks.small_images FOLDER [IMAGES]`.

200,000 files of 32 x 32 pixels in 100 classes by default, every one different: a minute or two, 800 MB of blocks.
"""

import sys
from pathlib import Path

import numpy as np

from worker.training.opencv import cv2

CLASSES = 100


def write_set(folder: Path, images: int = 200_000) -> None:
    """Make the folder; what is there already is overwritten."""
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class{label:03d}").mkdir(parents=True, exist_ok=True)
    for number in range(images):
        coarse = generator.integers(0, 256, (4, 4, 3), np.uint8)
        picture = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_LINEAR)
        content = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        (folder / f"class{number % CLASSES:03d}" / f"{number}.png").write_bytes(content.tobytes())


if __name__ == "__main__":
    write_set(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
