"""A folder of image files."""

import hashlib
from pathlib import Path

import numpy as np

from app.contract.data import Folder
from app.contract.work import RunOrder
from worker.training import image_files
from worker.training.data import Listing, Opened
from worker.training.image_check import Manifest, remembered
from worker.training.image_folder import Layout, bad, survey
from worker.training.images import Image, Images, Remembered

_CACHE_BYTES = 2**30  # of decoded images, over all ranks of a job on this host


def build(spec: Folder, order: RunOrder) -> "ImageFolder":
    """The folder that the service resolved; a run by hand may leave that to the spec."""
    return ImageFolder(order.paths.dataset or spec.path, order)


class ImageFolder:
    """The source of a job whose images are files."""

    def __init__(self, folder: str, order: RunOrder) -> None:
        self._folder = folder
        self._order = order

    def list(self) -> Listing:
        """By name only."""
        return _listing(survey(self._folder))

    def manifest(self) -> Manifest:
        """What the files are: found once in an attempt."""
        return remembered(self._folder, self._order.bad_image_share, Path(self._order.paths.run_dir))

    def open(self, channels: int) -> Opened:
        """Every file is checked once in an attempt, and read again when it is trained on."""
        order, manifest = self._order, self.manifest()
        read = Remembered(
            lambda index: _read(manifest, index, channels), _CACHE_BYTES // order.spec.distributed.processes
        )
        listing = _listing(manifest)
        images = Images(listing.labels_N, np.array(manifest.sizes, np.int64), channels, read)
        return Opened(listing, images, manifest.sha256, manifest.refused, manifest.refused_count)


def _listing(found: Layout | Manifest) -> Listing:
    in_validation = np.array(found.in_validation, bool) if found.has_validation else None
    return Listing(found.classes, found.names, np.array(found.labels, np.int64), in_validation)


def _read(manifest: Manifest, index: int, channels: int) -> Image:
    """The image that was checked, and no other: a hash costs a fortieth of the decoding."""
    name = manifest.names[index]
    try:
        content = image_files.read(manifest.folder, name)
        if hashlib.sha256(content).hexdigest() != manifest.contents[index]:
            raise bad(f"{name} has changed since the data set was checked.")
        return image_files.decode(content, channels)
    except image_files.Unusable as error:
        raise bad(f"{name} {error}, but it could be read when the data set was checked.") from error
