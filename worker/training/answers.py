"""Programs that answer a request with a file: what was asked for, or a `Failure` and exit code 1. No torch here."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from app.contract.failures import Failure, FailureCode, failure
from worker.training.errors import RunFailure


def give(out: Path, find: Callable[[], BaseModel], explain: Callable[[Exception], Failure]) -> int:
    """Write to `out` what `find` finds, or why there is none; the program's exit code."""
    try:
        found, exit_code = find(), 0
    except Exception as error:  # noqa: BLE001 - whatever it is, the user is told
        found, exit_code = explain(error), 1
    write(out, found)
    return exit_code


def explainer(work: str) -> Callable[[Exception], Failure]:
    """What stands for an error of a program without torch (see `causes` for the others); `work` says what it did."""

    def explain(error: Exception) -> Failure:
        if isinstance(error, RunFailure):
            return error.failure
        if isinstance(error, MemoryError):
            return failure(FailureCode.OUT_OF_MEMORY, f"{work}: {error}")
        return failure(FailureCode.INTERNAL, f"{type(error).__name__}: {error}")

    return explain


def write(path: Path, content: BaseModel | bytes) -> None:
    """All of it, or nothing: who reads the file meanwhile sees the one before."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content if isinstance(content, bytes) else content.model_dump_json().encode())
    part.replace(path)
