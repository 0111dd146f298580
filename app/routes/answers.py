"""How views become answers, and how answers are described in OpenAPI."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from app.errors import (
    BadRequest,
    Forbidden,
    InvalidQuery,
    InvalidSpec,
    OutOfScope,
    PayloadTooLarge,
    ServiceUnavailable,
    StorageFull,
    TablesMissing,
    TrainyardError,
    Unauthorized,
)
from app.problems import UnsupportedMediaType, problems

Responses = dict[int | str, dict[str, Any]]
Error = type[TrainyardError]

# No 500: nobody answers that knowingly, so it is not part of what is promised.
OPEN: tuple[Error, ...] = (BadRequest, InvalidQuery, ServiceUnavailable, StorageFull, TablesMissing)
ANY: tuple[Error, ...] = (*OPEN, Unauthorized, OutOfScope)
CHANGE: tuple[Error, ...] = (*ANY, InvalidSpec, Forbidden, PayloadTooLarge)
BODY: tuple[Error, ...] = (*CHANGE, UnsupportedMediaType)


def answered(view: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The view as JSON. Written by its own model, whose settings keep NaN and infinities as strings."""
    return Response(view.model_dump_json(), status, headers, "application/json")


def opened(example: Any) -> Responses:
    """The `responses` of a route that needs no API key."""
    return {200: _success(example, {}), **problems(*OPEN)}


def read(*errors: Error, example: Any = None, status: int = 200, **headers: str) -> Responses:
    """The `responses` of a route that changes nothing: an example, its headers, and all errors it can answer."""
    return {status: _success(example, headers), **problems(*ANY, *errors)}


def change(*errors: Error, example: Any = None, status: int = 200, **headers: str) -> Responses:
    """The same for one that changes something and takes no body."""
    return {status: _success(example, headers), **problems(*CHANGE, *errors)}


def body(*errors: Error, example: Any = None, status: int = 200, **headers: str) -> Responses:
    """The same for one that takes a body."""
    return {status: _success(example, headers), **problems(*BODY, *errors)}


def _success(example: Any, headers: dict[str, str]) -> dict[str, Any]:
    """Header names are given as keywords, with `_` for `-`."""
    described: dict[str, Any] = {"description": "Done."}
    if example is not None:
        described["content"] = {"application/json": {"example": example}}
    if headers:
        text = {"type": "string"}
        described["headers"] = {
            name.replace("_", "-"): {"description": meaning, "schema": text} for name, meaning in headers.items()
        }
    return described
