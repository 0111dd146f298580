"""The filters of `GET /v1/jobs`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from app.contract.job import LabelKey, LabelValue
from app.contract.states import JobState
from app.problems import InvalidParameters, ParameterProblem
from app.services.listing import JobFilters

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
PREFIX = "label."
_KEY: TypeAdapter[str] = TypeAdapter(LabelKey)
_VALUE: TypeAdapter[str] = TypeAdapter(LabelValue)

EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _within_reach(moment: datetime) -> datetime:
    """Beyond these, arithmetic with time zones overflows; no job was made there, so the answer is the same."""
    return min(max(moment, EARLIEST), LATEST)


def _written_out(text: object) -> object:
    """pydantic would read a bare number as seconds since 1970."""
    if isinstance(text, str) and "-" not in text[1:]:
        raise PydanticCustomError("datetime_parsing", "This should be a time of RFC 3339: 2026-11-21T10:00:00Z")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_within_reach)]

Order = Annotated[
    Literal["-created_at", "created_at"], Query(description="`-created_at`: newest first; `created_at`: oldest first.")
]


def takes_labels(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint whose query may hold `label.KEY=VALUE`."""
    endpoint.query_prefix = PREFIX  # type: ignore[attr-defined]
    return endpoint


async def _filters(
    request: Request,
    state: Annotated[list[JobState], Query(description="Only these states; may be repeated.")] = [],  # noqa: B006
    name: Annotated[str | None, Query(max_length=200, description="Only jobs of exactly this name.")] = None,
    created_after: Annotated[Moment | None, Query(description="Only younger jobs (RFC 3339, with a zone).")] = None,
    created_before: Annotated[Moment | None, Query(description="Only older jobs (RFC 3339, with a zone).")] = None,
) -> JobFilters:
    return JobFilters(
        states=tuple(dict.fromkeys(state)),
        labels=_labels(request),
        name=name,
        created_after=created_after,
        created_before=created_before,
    )


JobFiltersDep = Annotated[JobFilters, Depends(_filters)]


def _labels(request: Request) -> dict[str, str]:
    given = [(key, value) for key, value in request.query_params.multi_items() if key.startswith(PREFIX)]
    return {_checked(_KEY, key, key.removeprefix(PREFIX)): _checked(_VALUE, key, value) for key, value in given}


def _checked(adapter: TypeAdapter[str], parameter: str, text: str) -> str:
    try:
        return adapter.validate_python(text)
    except ValidationError as error:
        first = error.errors()[0]
        shown = parameter.encode("ascii", "replace").decode()[:100]
        problem = ParameterProblem(parameter=shown, detail=first["msg"] + ".", code=first["type"])
        raise InvalidParameters([problem]) from error
