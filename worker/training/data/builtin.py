"""Small real data sets that come with a dependency, or with the operating system."""

import gzip
import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.contract.data import Builtin
from app.contract.work import RunOrder
from worker.training.data import Listing, Opened
from worker.training.errors import bad_spec
from worker.training.images import Images
from worker.training.notes import Tell
from worker.training.opencv import cv2

# N = images, H W = height and width, C = channels

Pixels = npt.NDArray[np.uint8]

_FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_FASHION_FOLDER = "TRAINYARD_FASHION_MNIST"
_FASHION_DEFAULT = "/usr/share/datasets/fashion-mnist"  # where Debian's package puts it


def build(spec: Builtin, _order: RunOrder) -> "Pictures":
    """Reads the whole set: both are small."""
    return _digits() if spec.name == "digits" else _fashion_mnist()


class Pictures:
    """Grayscale images of one size, in memory."""

    def __init__(self, listing: Listing, pixels_NHW: Pixels) -> None:
        self._listing = listing
        self._pixels_NHW = pixels_NHW

    def list(self) -> Listing:
        """Names are numbers."""
        return self._listing

    def open(self, channels: int, _tell: Tell, *, keep: bool) -> Opened:
        """3 channels are the same one three times."""
        pixels_NHW, labels_N = self._pixels_NHW, self._listing.labels_N

        def read(index: int) -> Pixels:
            gray_HW = pixels_NHW[index]
            return (
                gray_HW[..., None] if channels == 1 else np.asarray(cv2.cvtColor(gray_HW, cv2.COLOR_GRAY2RGB), np.uint8)
            )

        sizes_N2 = np.tile(np.array(pixels_NHW.shape[1:], np.int64), (len(labels_N), 1))
        digest = hashlib.sha256(pixels_NHW.tobytes() + labels_N.tobytes()).hexdigest()
        return Opened(self._listing, Images(labels_N, sizes_N2, channels, read), digest)


def _digits() -> Pictures:
    """scikit-learn's file, read without importing scikit-learn, which takes longer than everything else here."""
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise bad_spec(
            "/dataset/name", "digits comes with scikit-learn, which this worker lacks: install trainyard[worker]."
        )
    file = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(file, dtype=np.int64, delimiter=",")
    values_NHW = rows[:, :-1].reshape(-1, 8, 8)  # 0 to 16: counts of dark pixels in 4x4 blocks of a scan
    listing = Listing(tuple("0123456789"), _numbers(len(rows)), rows[:, -1], None)
    return Pictures(listing, np.rint(values_NHW * (255 / 16)).astype(np.uint8))


def _fashion_mnist() -> Pictures:
    """60,000 images to train on and the 10,000 of its test part to validate with."""
    folder = Path(os.environ.get(_FASHION_FOLDER, _FASHION_DEFAULT))
    pixels = [_idx(folder, f"{part}-images-idx3-ubyte") for part in ("train", "t10k")]
    labels = [_idx(folder, f"{part}-labels-idx1-ubyte") for part in ("train", "t10k")]
    in_validation = np.arange(sum(map(len, labels))) >= len(labels[0])
    labels_N = np.concatenate(labels).astype(np.int64)
    return Pictures(Listing(_FASHION_CLASSES, _numbers(len(labels_N)), labels_N, in_validation), np.concatenate(pixels))


def _idx(folder: Path, name: str) -> Pixels:
    """An array in the IDX format: two zero bytes, type (8: uint8), dimensions, their lengths, values."""
    try:
        zipped = folder / f"{name}.gz"
        content = gzip.decompress(zipped.read_bytes()) if zipped.exists() else (folder / name).read_bytes()
        lengths = np.frombuffer(content, ">u4", count=content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + lengths.nbytes).reshape(lengths)
    except (OSError, EOFError, ValueError, IndexError) as error:
        detail = (
            f"fashion_mnist is not usable on this worker ({folder / name}: {error}). Install Debian's package "
            f"dataset-fashion-mnist, or set {_FASHION_FOLDER} to a folder with its four idx files."
        )
        raise bad_spec("/dataset/name", detail, "not_installed") from error


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]
