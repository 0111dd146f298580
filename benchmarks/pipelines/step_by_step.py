"""The order in which the article has it, image by image: crop, flip, rotate, resize, normalise in NumPy.

python -m benchmarks.pipelines.step_by_step SOURCE

In the same DataLoader with 2 workers as the other peers, though the article has none. What is wrong in the article's
lines (the last offset, the centre, the axes) is right here: it is about the order.
"""

import random
import sys
from math import exp, log, sqrt

import cv2
import numpy as np
import torch

from benchmarks.pipelines import DEGREES, MEAN, SCALE, SIZE, STD
from benchmarks.pipelines.child import serve
from benchmarks.pipelines.loading import batches
from benchmarks.pipelines.source import Image, Photographs

_MEAN_C = np.array(MEAN, np.float32)
_STD_C = np.array(STD, np.float32)


def main() -> None:
    """One function for each step, one pass over the pixels for each function."""
    serve(batches(Photographs(sys.argv[1]), transform))


def transform(image_HWC: Image) -> torch.Tensor:
    """float32, 3 x 224 x 224."""
    left, top, width, height = window(image_HWC.shape[0], image_HWC.shape[1])
    image = image_HWC[top : top + height, left : left + width]
    image = cv2.flip(image, 1) if random.random() < 0.5 else image
    image = cv2.flip(image, 0) if random.random() < 0.5 else image
    image = rotated(image, random.uniform(-DEGREES, DEGREES))
    image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    values_HWC = (image.astype(np.float32) / 255.0 - _MEAN_C) / _STD_C
    return torch.from_numpy(np.ascontiguousarray(values_HWC.transpose(2, 0, 1)))


def rotated(image_HWC: Image, degrees: float) -> Image:
    """About the middle of its pixels."""
    height, width = image_HWC.shape[:2]
    turn_23 = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(image_HWC, turn_23, (width, height), borderMode=cv2.BORDER_REFLECT)


def window(height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, width and height, as torchvision draws them, within ten tries or all of the image."""
    for _ in range(10):
        area = height * width * random.uniform(*SCALE)
        ratio = exp(random.uniform(log(3 / 4), log(4 / 3)))
        wide, high = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if wide <= width and high <= height:
            return random.randint(0, width - wide), random.randint(0, height - high), wide, high
    return 0, 0, width, height


if __name__ == "__main__":
    main()
