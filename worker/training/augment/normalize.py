"""The values to normalise with. worker/training/normalization.py fits and applies them, on the device."""

from app.contract.augment import Normalize
from worker.training.augment import Normalizing


def build(spec: Normalize) -> Normalizing:
    """As the spec has them; null asks for a fit to the training images."""
    return Normalizing(spec.mean, spec.std)
