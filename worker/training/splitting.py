"""Which images are held out for validation, where the data set does not say."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def stratified(
    labels_N: npt.NDArray[np.int64], names: Sequence[str], fraction: float, seed: int
) -> tuple[Indices, Indices]:
    """Indices of the training and the validation images, each in ascending order.

    Of each class `fraction` is held out, rounded, but at least one image is, and one stays, where there are two; a
    single image is trained on. Those with the least hash of (seed, name) are held out: the order of the file system has
    no part in it, and an image that is added or removed elsewhere does not move the others.
    """
    words_N4 = np.frombuffer(b"".join(_hashes(f"{seed}/", names)), ">u8").reshape(-1, 4)
    held_out = np.zeros(len(labels_N), bool)
    order = np.lexsort((*words_N4.T[::-1], labels_N))
    starts = np.flatnonzero(np.diff(labels_N[order], prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        held_out[order[start : start + _share(int(end - start), fraction)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _hashes(start: str, names: Iterable[str]) -> Iterator[bytes]:
    """SHA-256 of each name behind `start`, which is hashed once: 200,000 names in 0.15 s."""
    begun = hashlib.sha256(start.encode())
    for name in names:
        each = begun.copy()
        each.update(name.encode())
        yield each.digest()


def _share(images: int, fraction: float) -> int:
    return min(max(round(images * fraction), 1), images - 1)
