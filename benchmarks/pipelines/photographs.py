"""Photographs to measure with: windows of the two that come with scikit-learn (china.jpg, flower.jpg; both CC BY).

Each is cut at random, at least 3/4 of each side, mirrored by chance, and brought to 375 x 500: real photographs, and
as many as are wanted, without a download.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from worker.training.opencv import cv2

HEIGHT, WIDTH = 375, 500
_QUALITY = 90  # of the JPEG files, a camera's usual one

Image = npt.NDArray[np.uint8]


def windows(count: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Image:
    """`count` different images, N x H x W x 3 in RGB, the same each time."""
    originals = _originals()
    generator = np.random.default_rng(0)
    made_NHWC = np.empty((count, *size, 3), np.uint8)
    for number in range(count):
        original = originals[number % len(originals)]
        share = generator.uniform(0.75, 1.0)
        height, width = int(original.shape[0] * share), int(original.shape[1] * share)
        top = generator.integers(original.shape[0] - height + 1)
        left = generator.integers(original.shape[1] - width + 1)
        window = original[top : top + height, left : left + width][:, :: generator.choice([1, -1])]
        made_NHWC[number] = cv2.resize(window, size[::-1], interpolation=cv2.INTER_AREA)
    return made_NHWC


def save_array(path: Path, count: int) -> None:
    """In one .npy file."""
    np.save(path, windows(count))


def save_files(folder: Path, count: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> int:
    """As JPEG files in a folder for each of two classes; returns their bytes."""
    total = 0
    for name in ("china", "flower"):
        (folder / name).mkdir(parents=True)
    for number, image in enumerate(windows(count, size)):
        path = folder / ("china", "flower")[number % 2] / f"{number:06}.jpg"
        content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        path.write_bytes(content.tobytes())
        total += content.size
    return total


def _originals() -> list[Image]:
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("benchmarks: the photographs come with scikit-learn: install trainyard[worker]")
    folder = Path(package.submodule_search_locations[0], "datasets", "images")
    return [cv2.imread(str(folder / name), cv2.IMREAD_COLOR_RGB) for name in ("china.jpg", "flower.jpg")]
