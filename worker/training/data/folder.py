"""A folder of image files."""

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.contract.data import Folder
from app.contract.work import RunOrder
from worker.training import data, image_files, stored_size
from worker.training.cache.index import Index
from worker.training.cache.obtain import Found, Wanted, known_index, obtain, told_damaged
from worker.training.cache.shards import Damaged
from worker.training.closest_look import reduction_of
from worker.training.data import Listing, Opened
from worker.training.image_folder import Layout, bad, survey
from worker.training.images import Image, Images, Read, Remembered
from worker.training.notes import Tell
from worker.training.stored_size import Reduction

_MEMORY_BYTES = 128 << 20  # of decoded images, over all ranks of a job on this host, where there is no cache


def build(spec: Folder, order: RunOrder) -> "ImageFolder":
    """The folder that the service resolved; a run by hand may leave that to the spec."""
    return ImageFolder(order.paths.dataset or spec.path, order)


class ImageFolder:
    """The source of a job whose images are files."""

    def __init__(self, folder: str, order: RunOrder, sha256: str | None = None) -> None:
        """`sha256`: of the content, where another one will not do."""
        self._folder = folder
        self._order = order
        self._sha256 = sha256

    def list(self) -> Listing:
        """By name only, where the set is not known from a time before."""
        known = known_index(self._wanted(data.channels(self._order)))
        return _of_index(known) if known else _of_layout(survey(self._folder))

    def open(self, channels: int, tell: Tell, *, keep: bool) -> Opened:
        """Every file is checked once in an attempt, unless the worker has its pixels from a time before."""
        wanted = replace(self._wanted(channels), keep=keep)
        found = obtain(wanted, tell)
        files = FromFiles(wanted.root, found.index, wanted.reduction, channels)
        files_again = Remembered(files.read, _MEMORY_BYTES // self._order.processes)
        read = kept(found, files.read, tell) or files_again
        factors_N = wanted.reduction.factors(found.index.sizes_N2)
        sizes_N2 = stored_size.stored_sizes(found.index.sizes_N2, factors_N)
        images = Images(found.index.labels_N, sizes_N2, channels, read)
        return Opened(
            _of_index(found.index),
            images,
            found.index.sha256,
            found.index.refused,
            found.index.refused_count,
            stored_size.digest(factors_N),
        )

    def index(self) -> Index:
        """What the files are: as it was opened, or found now."""
        wanted = replace(self._wanted(data.channels(self._order)), keep=False)
        return obtain(wanted).index

    def _wanted(self, channels: int) -> Wanted:
        order = self._order
        return Wanted(
            self._folder,
            self._sha256,
            channels,
            reduction_of(order.spec),
            order.bad_image_share,
            Path(order.paths.run_dir),
        )


class FromFiles:
    """Reads and decodes a file each time."""

    def __init__(self, folder: str, index: Index, reduction: Reduction, channels: int) -> None:
        self._folder = folder
        self._index = index
        self._reduction = reduction
        self._channels = channels

    def read(self, index: int) -> Image:
        """The pixels as they are trained on, of the very content that was checked: a hash costs a fortieth of the
        decoding. Raises RunFailure(BAD_DATASET)."""
        name = self._index.names[index]
        try:
            content = image_files.read(self._folder, name)
            if hashlib.sha256(content).digest() != self._index.contents_N32[index].tobytes():
                raise bad(f"{name} has changed since the data set was checked.")
            image_HWC, _ = stored_size.decode(content, self._channels, self._reduction)
        except image_files.Unusable as error:
            raise bad(f"{name} {error}, but it could be read when the data set was checked.") from error
        return image_HWC


class FromCache:
    """Reads what is kept; where that is damaged, the files once more."""

    def __init__(self, found: Found, otherwise: Read, tell: Tell) -> None:
        assert found.entry
        self._entry = found.entry  # held as long as it is read
        self._reader = found.entry.reader()
        self._otherwise = otherwise
        self._tell = tell
        self._told = threading.Lock()  # taken once

    def read(self, index: int) -> Image:
        """The pixels as they are trained on."""
        try:
            return self._reader.read(index)
        except Damaged as error:
            if self._told.acquire(blocking=False):
                told_damaged(self._tell, self._entry.folder, error)
            return self._otherwise(index)


def kept(found: Found, otherwise: Read, tell: Tell) -> Read | None:
    """Reads what is kept; null where nothing is, as when another process has just found it damaged and removed it."""
    if found.entry is None:
        return None
    try:
        return FromCache(found, otherwise, tell).read
    except Damaged as error:
        told_damaged(tell, found.entry.folder, error)
        return None


def _of_index(found: Index) -> Listing:
    in_validation_N = found.in_validation_N if found.has_validation else None
    return Listing(found.classes, found.names, found.labels_N, in_validation_N)


def _of_layout(found: Layout) -> Listing:
    in_validation_N = np.array(found.in_validation, bool) if found.has_validation else None
    return Listing(found.classes, found.names, np.array(found.labels, np.int64), in_validation_N)
