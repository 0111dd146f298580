"""Folders of real image files, written with OpenCV."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from worker.training.opencv import cv2

Image = npt.NDArray[np.uint8]


def picture(seed: int, height: int = 12, width: int = 16) -> Image:
    """RGB, smooth enough to survive JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def encoded(image: Image, extension: str) -> bytes:
    """An RGB or gray image as a file of the format that the extension names."""
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    return bytes(cv2.imencode(extension, stored)[1])


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def image_folder(folder: Path, counts: dict[str, int], extension: str = ".png") -> Path:
    """`counts` pictures in each class folder; a class may be "train/cats"."""
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            write(folder / name / f"{index}{extension}", encoded(picture(1_000 * number + index), extension))
    return folder


def order(run_dir: Path, dataset: dict[str, Any], folder: Path | None = None, **spec: Any) -> RunOrder:
    """What a run on that data set is told."""
    body = {"dataset": dataset, "model": {"kind": "timm", "name": "resnet10t"}, **spec}
    return RunOrder(
        spec=JobSpec.model_validate(body),
        paths=Paths(run_dir=str(run_dir), dataset=str(folder) if folder else None),
    )
