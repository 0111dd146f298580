"""Networks to compress."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from tests.support.networks import CLASSES, SCALING, exported
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.attached import Course
from worker.training.precision import Precision

Make = Callable[..., nn.Module]


@pytest.fixture
def make() -> Make:
    """A timm network by name, in evaluation mode, with weights that depend on nothing."""

    def make(name: str, device: str = "cpu", outputs: int = 10, channels: int = 3) -> nn.Module:
        architecture = Architecture(name=name, channels=channels, outputs=outputs)
        with seeded(0, name), torch.device(device):
            return assemble(architecture).eval()

    return make


@pytest.fixture
def course(tmp_path: Path) -> Callable[..., Course]:
    """Of a job on 32x32 images with ten classes, whose teacher is a network with random weights."""

    def make(
        weights: torch.dtype = torch.float32, compute: torch.dtype | None = None, epochs: int = 4, **given: Any
    ) -> Course:
        spec = JobSpec.model_validate(
            {
                "dataset": {"kind": "builtin", "name": "digits"},
                "model": {"kind": "timm", "name": "resnet10t"},
                "training": {"epochs": epochs},
            }
        )
        teacher = given.pop("teacher", None) or exported(tmp_path / "run" / "teacher")
        order = RunOrder(spec=spec, paths=Paths(run_dir=str(tmp_path), teacher=str(teacher)))
        known = {"scaling": SCALING, "largest": lambda values: values, "classes": CLASSES, "pointer": "/compression/0"}
        return Course(
            order=order, precision=Precision("cpu", weights, compute), device=torch.device("cpu"), **(known | given)
        )

    return make
