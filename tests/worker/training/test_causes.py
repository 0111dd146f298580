import errno

import pytest
import torch

from worker.training.causes import explain, is_consequence
from worker.training.errors import bad_spec

OfTensorFlow = type("InternalError", (Exception,), {"__module__": "tensorflow.python.framework.errors_impl"})
"""As TensorFlow has them: no RuntimeError, and no class of its own for these."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), "out_of_memory"),
        (RuntimeError("could not create a primitive"), "out_of_memory"),
        (
            RuntimeError("Got the following error when running the callback: MemoryError: <EMPTY MESSAGE>"),
            "out_of_memory",
        ),
        (RuntimeError("could not create a primitive descriptor for a convolution"), "internal"),
        (OfTensorFlow("Failed to allocate scratch buffer: CUDA_ERROR_OUT_OF_MEMORY: out of memory"), "out_of_memory"),
        (OfTensorFlow("CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected"), "lost_gpu"),
        (OfTensorFlow("Graph execution error"), "internal"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "lost_gpu"),
        (RuntimeError("[gloo/transport/tcp] Timed out waiting 1800000ms for recv operation"), "stalled"),
        (RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer [127.0.0.1]:1"), "crashed"),
        (KeyError("weight"), "internal"),
        (bad_spec("/model/name", "no"), "bad_spec"),
    ],
)
def test_each_cause_has_its_code(error: Exception, code: str) -> None:
    assert explain(error).code == code


def test_memory_that_is_really_too_little_is_recognised() -> None:
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert explain(refusal.value).code == "out_of_memory"


def test_a_lost_peer_is_a_consequence_and_never_the_cause() -> None:
    assert is_consequence(explain(RuntimeError("gloo: Connection reset by peer")))
    assert not is_consequence(explain(RuntimeError("something else")))
