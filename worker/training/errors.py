"""How a run ends before its time: one exception that carries the failure the user will read."""

from collections.abc import Sequence

from app.contract.failures import Failure, FailureCode, FieldProblem, failure


class RunFailure(Exception):
    """The run cannot go on. Raised anywhere in training; the launcher reports its `failure` as the last event."""

    def __init__(self, code: FailureCode, message: str, errors: Sequence[FieldProblem] = ()) -> None:
        super().__init__(message)
        self.failure: Failure = failure(code, message, errors=list(errors))


def bad_spec(pointer: str, detail: str, code: str = "does_not_fit") -> RunFailure:
    """A field of the spec that only a worker could find wrong; `pointer` is a JSON Pointer into the spec."""
    problem = FieldProblem(pointer=pointer, detail=detail, code=code)
    return RunFailure(FailureCode.BAD_SPEC, detail, [problem])
