"""TensorFlow and Keras, loaded; or the failure that says why they cannot be."""

import logging
import os
import sys
from importlib import import_module

from app.contract.failures import FailureCode
from worker.training.errors import RunFailure

_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": "/dev/null/keras",  # nothing is read or written there: a person's keras.json would change what we do
    "TF_CPP_MIN_LOG_LEVEL": "2",  # warnings and errors
    "TF_USE_LEGACY_KERAS": "0",
}


def load() -> None:
    """Import both. Raises `missing_library` when either is not there or does not load."""
    os.environ.update(_ENVIRONMENT)
    try:
        import_module("tensorflow")
        import_module("keras")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:2000]
        message = f"TensorFlow cannot be loaded on this worker ({reason})."
        raise RunFailure(FailureCode.MISSING_LIBRARY, message) from error
    logging.getLogger("tensorflow").setLevel(logging.WARNING)  # it tells of each sum over devices that it plans
    if "torch" in sys.modules:
        raise RuntimeError("torch is loaded beside TensorFlow: both bring their own threads and want all memory")
