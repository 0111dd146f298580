"""A cache of its own, small sets that may be kept, and what was told."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.contract.job import JobSpec
from tests.support.image_sets import image_folder
from worker.training.cache.obtain import Found, Wanted, obtain
from worker.training.closest_look import reduction_of
from worker.training.data import LoadedData

SETTLE_S = 0.2
"""Files younger than a tick of the kernel's clock are not recognised the next time: they might still change."""
SPEC: dict[str, Any] = {
    "dataset": {"kind": "folder", "path": "x"},
    "model": {"kind": "timm", "name": "resnet10t"},
    "augment": [{"kind": "resize", "size": [8, 8]}],
}


@dataclass
class Heard:
    """Everything that was told, but how far the preparing is: a slow machine says more of that."""

    notes: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, level: str, code: str, message: str, **_data: Any) -> None:
        if code != "preparing_data":
            self.notes.append((level, code, message))

    @property
    def codes(self) -> list[str]:
        return [code for _, code, _ in self.notes]


def settled_folder(folder: Path, counts: dict[str, int]) -> Path:
    image_folder(folder, counts)
    time.sleep(SETTLE_S)
    return folder


def wanted(folder: Path, run_dir: Path, sha256: str | None = None, channels: int = 3, **spec: Any) -> Wanted:
    reduction = reduction_of(JobSpec.model_validate(SPEC | spec))
    return Wanted(str(folder), sha256, channels, reduction, 0.01, run_dir)


def obtained(want: Wanted) -> tuple[Found, Heard]:
    heard = Heard()
    return obtain(want, heard), heard


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.glob("sets/*") if path.is_dir())


def pixels(loaded: LoadedData) -> list[bytes]:
    return [loaded.train.read(index).tobytes() for index in range(len(loaded.train))]


def blind(folder: Path) -> None:
    """Make all files of a set unreadable for any purpose, by emptying them, times and sizes of entries as they come."""
    for file in folder.rglob("*.png"):
        os.truncate(file, 0)
