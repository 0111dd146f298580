"""From an exception to the failure that a user reads. The traceback goes to the log; the code decides what follows."""

import errno
import sys

from app.contract.failures import Failure, FailureCode, failure
from worker.training.errors import RunFailure
from worker.training.shortage import ran_out

# Neither CUDA nor gloo has exception classes of its own for these; the texts are those of torch 2.11 to 2.13.
_LOST_GPU = (
    "device lost", "GPU is lost", "uncorrectable ECC", "busy or unavailable", "no CUDA-capable device",
    "fallen off the bus", "hardware exception", "nvlink",
)  # fmt: skip
_TIMED_OUT = ("timed out", "timeout")
_PEER_GONE = ("connection closed by peer", "connection reset by peer", "broken pipe", "connection refused")

_NO_PORT = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)

PEER_LOST = "Another process of the run ended"


def explain(error: BaseException) -> Failure:
    """The failure that stands for an exception of a rank or of the planner."""
    if isinstance(error, RunFailure):
        return error.failure
    if full := full_disk(error):
        return failure(FailureCode.DISK_FULL, f"{type(full).__name__}: {full}")
    code, prefix = _code(error)
    return failure(code, f"{prefix}{type(error).__name__}: {error}")


def full_disk(error: BaseException | None) -> OSError | None:
    """The error about room on a disk that an error is or came from: libraries raise their own after it."""
    if error is None or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return error
    return full_disk(error.__cause__ or error.__context__)


def is_consequence(told: Failure) -> bool:
    """Whether a rank failed only because another one did: then that one's failure is the cause."""
    return told.code is FailureCode.CRASHED and told.message.startswith(PEER_LOST)


def may_be_explained(told: Failure) -> bool:
    """Whether the planner may know better: which field of the spec brought an error that has no code of its own."""
    return is_consequence(told) or told.code is FailureCode.INTERNAL


def distance(told: Failure) -> int:
    """How far a failure is from the cause of a run's end: a field or a code, an unknown error, another's failure."""
    return int(is_consequence(told)) + int(may_be_explained(told))


def _code(error: BaseException) -> tuple[FailureCode, str]:
    if ran_out(error):
        return FailureCode.OUT_OF_MEMORY, ""
    if isinstance(error, OSError) and error.errno in _NO_PORT:
        return FailureCode.CRASHED, "The ranks have no port to meet at. "
    if isinstance(error, ConnectionError):
        return FailureCode.CRASHED, f"{PEER_LOST}. "
    if isinstance(error, RuntimeError) or type(error).__module__.startswith("tensorflow."):
        return _code_of_library(error)
    return FailureCode.INTERNAL, ""


def _code_of_library(error: BaseException) -> tuple[FailureCode, str]:
    text = str(error).lower()
    if any(part.lower() in text for part in _LOST_GPU):
        return FailureCode.LOST_GPU, ""
    if any(part in text for part in _PEER_GONE):
        return FailureCode.CRASHED, f"{PEER_LOST}. "
    if _is_of_collective(error) or "gloo" in text:
        return _code_of_collective(text)
    return FailureCode.INTERNAL, ""


def _is_of_collective(error: BaseException) -> bool:
    """Where torch was never loaded, the error is none of its own."""
    dist = sys.modules.get("torch.distributed")
    return dist is not None and isinstance(error, dist.DistError)


def _code_of_collective(text: str) -> tuple[FailureCode, str]:
    timed_out = any(part in text for part in _TIMED_OUT)
    return (FailureCode.STALLED, "") if timed_out else (FailureCode.CRASHED, f"{PEER_LOST}. ")
