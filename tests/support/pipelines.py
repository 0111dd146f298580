"""Lists of augmentations as a job would run them."""

from typing import Any

from app.contract.job import JobSpec
from worker.training import augment
from worker.training.augment import Pipeline


def compiled(*augmentations: dict[str, Any], seed: int = 0) -> Pipeline:
    """Of a job on a folder of RGB images."""
    spec = {
        "dataset": {"kind": "folder", "path": "flowers"},
        "model": {"kind": "timm", "name": "resnet10t"},
        "augment": augmentations,
        "training": {"seed": seed},
    }
    return augment.compile(JobSpec.model_validate(spec))
