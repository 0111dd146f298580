"""Why a job failed: a code for programs, a message for people, and a hint that says what to change."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, Field


class FailureCode(StrEnum):
    """Each code's consequence stands in `POLICY`."""

    BAD_SPEC = "bad_spec"
    BAD_DATASET = "bad_dataset"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    GATE_MISSED = "gate_missed"
    TIMEOUT = "timeout"
    DISK_FULL = "disk_full"
    LOST_WORKER = "lost_worker"
    LOST_GPU = "lost_gpu"
    STALLED = "stalled"
    CRASHED = "crashed"
    CRASH_LOOP = "crash_loop"
    EXPORT_FAILED = "export_failed"
    MISSING_LIBRARY = "missing_library"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Policy:
    """What follows from a failure."""

    requeue: bool  # the service starts another attempt by itself, after a pause, until `limits.max_attempts`
    retryable: bool  # a person who posts `retry` without changing anything may well succeed
    hint: str
    keeps_files: bool = False  # artifacts, and the report where there is one, are offered as a success's are


POLICY: dict[FailureCode, Policy] = {
    FailureCode.BAD_SPEC: Policy(False, False, "Change the fields that `errors` points at, and submit again."),
    FailureCode.BAD_DATASET: Policy(False, False, "Repair or remove the files that the log names, then retry."),
    FailureCode.OUT_OF_MEMORY: Policy(False, False, "Use a smaller batch_size, images or model, or more processes."),
    FailureCode.DIVERGED: Policy(False, False, "Use a lower learning_rate, a longer warm-up or fp32 precision."),
    FailureCode.GATE_MISSED: Policy(
        False, False, "The model and its report are kept. Train longer, compress less, or loosen the gate.",
        keeps_files=True,
    ),
    FailureCode.TIMEOUT: Policy(False, True, "Raise limits.max_duration_s or train less; retry resumes the run."),
    FailureCode.DISK_FULL: Policy(False, True, "Free space under the storage folder, then retry."),
    FailureCode.LOST_WORKER: Policy(True, True, "The worker stopped answering: see that its host is up, then retry."),
    FailureCode.LOST_GPU: Policy(True, True, "A GPU fell out: check the host's driver log, then retry."),
    FailureCode.STALLED: Policy(True, True, "No step was made for too long: the stacks of all ranks are in the log."),
    FailureCode.CRASHED: Policy(True, True, "A training process died, often of low memory: see the end of the log."),
    FailureCode.CRASH_LOOP: Policy(False, True, "Three attempts in a row made no checkpoint: read the last one's log."),
    FailureCode.EXPORT_FAILED: Policy(
        False, False, "The trained model is kept. Leave that format out of export, or use another model.",
        keeps_files=True,
    ),
    FailureCode.MISSING_LIBRARY: Policy(
        False, True, "Install or repair the library on the worker (make setup EXTRAS=tensorflow), then retry.",
    ),
    FailureCode.INTERNAL: Policy(False, True, "A defect of Trainyard: the traceback is in the log. Please report it."),
}  # fmt: skip


class FieldProblem(BaseModel):
    """One field that cannot stay as it is."""

    pointer: str = Field(description="JSON Pointer (RFC 6901) into what the client sent.")
    detail: str = Field(description="What is wrong and what would be right.")
    code: str = Field(description="Which rule, for programs.")


class Failure(BaseModel):
    """Why a job, an attempt or a background task failed."""

    code: FailureCode
    message: str = Field(max_length=4000)
    hint: str = ""
    retryable: bool = False
    attempt: int | None = Field(None, description="The attempt that failed; null when none was running.")
    errors: list[FieldProblem] = Field([], description="With `bad_spec`: the fields, as in a 422 answer.")


def failure(
    code: FailureCode, message: str, *, attempt: int | None = None, errors: list[FieldProblem] | None = None
) -> Failure:
    """A failure with the hint and consequences of its code. Long messages keep their end, where the cause stands."""
    policy = POLICY[code]
    return Failure(
        code=code,
        message=message[-4000:],
        hint=policy.hint,
        retryable=policy.retryable,
        attempt=attempt,
        errors=errors or [],
    )
