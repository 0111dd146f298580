"""The network and weights that an earlier job of this kind ended with, compressed layers included."""

from collections.abc import Sequence
from pathlib import Path

from app.contract.models import Checkpoint
from app.contract.work import RunOrder
from worker.tensorflow import files
from worker.tensorflow.files import BrokenModel
from worker.tensorflow.models import Start
from worker.training.errors import RunFailure, bad_spec

POINTER = "/model/job"


def build(spec: Checkpoint, order: RunOrder, classes: Sequence[str]) -> Start:
    """As that job's files say. Refused for other classes, or images of another size."""
    if order.paths.model is None:
        raise bad_spec(POINTER, f"The files of {spec.job} are not on this worker.", "model_missing")
    folder = Path(order.paths.model)
    try:
        card = files.read_card(folder)
        weights = files.read_weights(folder, card)
    except BrokenModel as error:
        raise _refused(spec, "model_broken", f"cannot be used: {error}") from error
    if list(card.classes) != list(classes):
        why = f"tells {len(card.classes)} classes apart, and not those of this data: use data with the same classes."
        raise _refused(spec, "other_classes", why)
    if card.image_size != order.spec.image_size:
        height, width = card.image_size
        raise _refused(spec, "other_image_size", f"reads {height}x{width} images: resize to that.")
    return Start(card.architecture, weights)


def _refused(spec: Checkpoint, code: str, why: str) -> RunFailure:
    return bad_spec(POINTER, f"The model of {spec.job} {why}", code)
