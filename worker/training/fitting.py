"""Mean and deviation of each channel, fitted to the training images: see normalization.py, which applies them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.training.augment import Pipeline
from worker.training.images import Images

# N = images in a batch, H W = height and width, C = channels

_SAMPLE = 2_048  # images: their mean is then within 1/40 of the spread between images
_CHUNK = 32  # images resampled at once


@dataclass(frozen=True)
class Normalization:
    """`(value - mean) / std`, per channel, of values in [0, 1]. One entry for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def fit(images: Images, pipeline: Pipeline, threads: int = 1) -> Normalization:
    """The values of the spec, or else those of the training images at evaluation geometry.

    At most 2,048 images are read, spread evenly over the set, which is sorted by class. Sums are exact integers, so
    every rank and thread count finds the same values. A channel that never changes is only centred.
    """
    given = pipeline.normalizing
    if given.mean is not None and given.std is not None:
        return Normalization(_each(given.mean, images.channels), _each(given.std, images.channels))
    sample = np.unique(np.linspace(0, len(images) - 1, min(len(images), _SAMPLE)).astype(np.int64))
    chunks = [sample[start : start + _CHUNK] for start in range(0, len(sample), _CHUNK)]

    def sums(chunk: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
        images_NHWC = pipeline.evaluate_NHWC([images.read(int(index)) for index in chunk])
        squares_NHWC = np.square(images_NHWC, dtype=np.uint16)  # at most 255 * 255, which just fits
        return _by_channel(images_NHWC), _by_channel(squares_NHWC), images_NHWC.size // images.channels

    with ThreadPoolExecutor(threads) as pool:
        totals, squares, counts = zip(*pool.map(sums, chunks), strict=True)
    return _of_sums(sum(totals), sum(squares), sum(counts))


def _by_channel(values_NHWC: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Sums over rows of pixels first: over 3 values at a time they take ten times as long."""
    width, channels = values_NHWC.shape[2:]
    rows_RX = values_NHWC.reshape(-1, width * channels)
    return rows_RX.sum(axis=0, dtype=np.int64).reshape(width, channels).sum(axis=0)


def _each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _of_sums(total_C: npt.NDArray[np.int64], squares_C: npt.NDArray[np.int64], count: int) -> Normalization:
    mean_C = total_C / count
    # Whole numbers of any size until the division: the difference of two large squares loses nothing.
    spread_C = [int(square) * count - int(total) ** 2 for total, square in zip(total_C, squares_C, strict=True)]
    std_C = [(spread**0.5 / count if spread else 255.0) for spread in spread_C]
    return Normalization(tuple(float(mean) / 255 for mean in mean_C), tuple(std / 255 for std in std_C))
