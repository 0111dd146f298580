"""Every way in which the service says no. An error knows its HTTP status and problem type; its docstring is the advice.

One handler at the edge renders these as RFC 9457 problems, so that no rule ever mentions HTTP again.
"""

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError

from app.contract.failures import FieldProblem
from app.pointers import field_problems


class TrainyardError(Exception):
    """Something went wrong that the service did not foresee. The log has the traceback; please report it."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    ends_connection: bool = False
    """Whether a part of the request's body was not read, and never will be."""

    def __init__(
        self, detail: str = "", *, errors: Sequence[FieldProblem] = (), retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail or self.advice())
        self.detail = detail or self.advice()
        self.errors = list(errors)
        self.retry_after_s = retry_after_s

    @classmethod
    def title(cls) -> str:
        """The problem's title: the first sentence of the docstring."""
        return cls.advice().partition(". ")[0].rstrip(".") + "."

    @classmethod
    def advice(cls) -> str:
        """What happened and what to do, for people: the docstring."""
        return " ".join(inspect.getdoc(cls).split()) if cls.__doc__ else cls.__name__  # type: ignore[union-attr]

    def extras(self) -> dict[str, Any]:
        """Members of the problem document beside the standard ones."""
        return {"errors": [problem.model_dump() for problem in self.errors]} if self.errors else {}


class BadRequest(TrainyardError):
    """The request cannot be read. Send a JSON body in UTF-8, with `Content-Type: application/json`."""

    status = 400
    slug = "bad-request"


class InvalidSpec(TrainyardError):
    """Some fields cannot stay as they are. Change what `errors` points at, and send it again."""

    status = 422
    slug = "invalid-spec"

    @classmethod
    def at(cls, pointer: str, code: str, detail: str) -> "InvalidSpec":
        """One field is to blame: `pointer` is a JSON Pointer into what the client sent."""
        return cls(detail, errors=[FieldProblem(pointer=pointer, code=code, detail=detail)])

    @classmethod
    def of(cls, error: ValidationError, body: Any, model: type[BaseModel]) -> "InvalidSpec":
        """What pydantic found wrong with `body`, which it read as `model`, with JSON Pointers into it."""
        return cls(errors=field_problems(error.errors(include_url=False), body, model))


class InvalidQuery(InvalidSpec):
    """A query parameter cannot be used. Change what `errors` points at; cursors are only valid as they were given."""

    slug = "invalid-query"


class KeyReused(TrainyardError):
    """This Idempotency-Key was used with another body. Send a new key, or the same body."""

    status = 422
    slug = "key-reused"


class NotFound(TrainyardError):
    """Not found. It may have been deleted: see the list that it would stand in."""

    status = 404
    slug = "not-found"


class Conflict(TrainyardError):
    """Not possible now. `state` says what the thing is at present; read it again before you decide."""

    status = 409
    slug = "conflict"

    def __init__(self, detail: str = "", *, state: str | None = None) -> None:
        super().__init__(detail)
        self.state = state

    def extras(self) -> dict[str, Any]:
        return {"state": self.state} if self.state else {}


class PreconditionFailed(TrainyardError):
    """It has changed since you read it, so `If-Match` does not hold. Read it again, then repeat the change."""

    status = 412
    slug = "precondition-failed"


class Fenced(TrainyardError):
    """This attempt is over. Kill its process group and write nothing more: another worker may hold the job by now."""

    status = 410
    slug = "fenced"


class Unauthorized(TrainyardError):
    """This needs an API key that is good. Send `Authorization: Bearer KEY` (the command line: TRAINYARD_API_KEY).

    `trainyard keys create NAME` makes one, on the host of the service.
    """

    status = 401
    slug = "unauthorized"


class Forbidden(TrainyardError):
    """The request comes from where none is allowed. Name the host or origin in the service's settings."""

    status = 403
    slug = "forbidden"


class OutOfScope(TrainyardError):
    """This API key may not do that. Use one that has the scope: `read` for GET and HEAD, `write` for all else."""

    status = 403
    slug = "out-of-scope"


class PayloadTooLarge(TrainyardError):
    """The body is larger than this service reads. Send a smaller one; TRAINYARD_MAX_BODY_BYTES is the limit."""

    status = 413
    slug = "payload-too-large"
    ends_connection = True


class DigestMismatch(TrainyardError):
    """What came is not what was sent: its SHA-256 is another than the header's. Nothing was kept: send it again."""

    status = 400
    slug = "digest-mismatch"


class ServiceUnavailable(TrainyardError):
    """The service cannot answer just now. Nothing was changed: ask again after `Retry-After` seconds."""

    status = 503
    slug = "service-unavailable"

    def __init__(self, detail: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class StorageFull(ServiceUnavailable):
    """The disk of the database, or of the storage, is full. Nothing was changed: free some space, then ask again."""

    slug = "storage-full"

    def __init__(self, detail: str = "", *, retry_after_s: float = 30.0) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class TablesMissing(ServiceUnavailable):
    """The database lacks tables of this version. Nothing was changed: run `trainyard db upgrade`, then ask again."""

    slug = "tables-missing"

    def __init__(self, detail: str = "", *, retry_after_s: float = 30.0) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
