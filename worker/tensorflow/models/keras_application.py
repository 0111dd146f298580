"""A network of keras.applications with random weights."""

from collections.abc import Sequence

from app.contract.models import KerasApplication
from app.contract.work import RunOrder
from worker.tensorflow.architecture import Architecture
from worker.tensorflow.models import Start


def build(spec: KerasApplication, order: RunOrder, classes: Sequence[str]) -> Start:
    """With a classifier for the classes of the data."""
    described = Architecture(
        name=spec.name,
        width=spec.width,
        channels=spec.channels,
        outputs=len(classes),
        image_size=order.spec.image_size,
    )
    return Start(described)
