"""Running out of memory, recognised without loading the library that ran out of it."""

import errno

from app.contract.failures import FailureCode
from worker.training.errors import RunFailure

_CLASSES = ("OutOfMemoryError", "ResourceExhaustedError")
"""Of CUDA's allocator in torch, and of TensorFlow. The others, of torch 2.11 to 2.13, C++ and OpenCV, have texts."""
_TEXTS = (
    "out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "bad_alloc",
    "alloc_failed", "insufficient memory", "memoryerror",
)  # fmt: skip
# The last is Python's own, of which torch passes on the text where it was raised in a callback of torch's.
_NO_ROOM_FOR_CODE = "could not create a primitive"
"""All that oneDNN says when there is no memory for a kernel's machine code; what it cannot compute, it names."""


class TooLarge(RunFailure):
    """A step does not fit into memory; with at most `smaller` images at a time it may."""

    def __init__(self, message: str, smaller: int) -> None:
        super().__init__(FailureCode.OUT_OF_MEMORY, message)
        self.smaller = smaller


def ran_out(error: BaseException) -> bool:
    """Whether memory, of the device or of the host, was too little."""
    if isinstance(error, MemoryError) or type(error).__name__ in _CLASSES:
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    native = isinstance(error, RuntimeError) or type(error).__module__.startswith(("cv2", "tensorflow."))
    text = str(error).lower()
    return native and (text == _NO_ROOM_FOR_CODE or any(part in text for part in _TEXTS))
