"""Trained-looking networks as files, without the training."""

from pathlib import Path
from typing import Any

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.card import Scaling
from worker.training.export import card_of, export

CLASSES = tuple("0123456789")
SCALING = Scaling(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def exported(
    folder: Path,
    name: str = "test_resnet",
    classes: tuple[str, ...] = CLASSES,
    channels: int = 3,
    scaling: Scaling = SCALING,
    **architecture: Any,
) -> Path:
    """The folder, with model.json and model.safetensors of a network with random weights in it."""
    with seeded(7, name):
        network = assemble(Architecture(name=name, channels=channels, outputs=len(classes), **architecture))
    spec = JobSpec.model_validate(
        {
            "dataset": {"kind": "builtin", "name": "digits"},
            "model": {"kind": "timm", "name": name, "channels": channels},
            "augment": [{"kind": "resize", "size": architecture.get("image_size", (32, 32))}],
        }
    )
    order = RunOrder(spec=spec, paths=Paths(run_dir=str(folder.parent)))
    export(network, card_of(network, order, classes, scaling, None), folder)
    return folder
