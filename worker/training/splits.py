"""Whether networks that a job starts or learns from have seen the images that it validates with."""

from collections.abc import Callable, Iterator
from pathlib import Path

from app.contract.compression import Distillation
from app.contract.models import Checkpoint
from app.contract.work import RunOrder, Split
from worker.training.data import Outline

DataOf = Callable[[Path], str | None]
"""From the folder of a network's files to the SHA-256 of the data that it was trained on, if they say."""


def warnings(order: RunOrder, found: Outline, data_of: DataOf) -> Iterator[str]:
    """Of networks that may have. Only a warning: their data may have been others, with the same classes."""
    if not found.is_split:
        return
    spec = order.spec
    if isinstance(spec.model, Checkpoint):
        yield from _seen(spec.model.job, order.paths.model, order.model_split, order, data_of)
    for method in spec.compression:
        if isinstance(method, Distillation):
            yield from _seen(method.job, order.paths.teacher, order.teacher_split, order, data_of)


def _seen(job: str, path: str | None, theirs: Split | None, order: RunOrder, data_of: DataOf) -> Iterator[str]:
    ours = Split(seed=order.spec.training.seed, validation_fraction=order.spec.dataset.validation_fraction)
    if path is None or theirs is None or theirs == ours:
        return
    known = data_of(Path(path)), order.paths.dataset_sha256
    if None in known or len(set(known)) == 1:
        yield (
            f"{job} held out other images (training.seed {theirs.seed}, validation_fraction "
            f"{theirs.validation_fraction:g}): if its data were these, its network has trained on images that this job "
            "validates with, and accuracies come out too high. Use the same two values."
        )
