"""How every refusal looks: RFC 9457 `application/problem+json`. One handler each for what we say no to, what cannot be
read, what has no route, and what nobody foresaw."""

import json
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.contract.failures import FieldProblem
from app.errors import (
    BadRequest,
    InvalidQuery,
    InvalidSpec,
    NotFound,
    OutOfScope,
    PayloadTooLarge,
    TrainyardError,
    Unauthorized,
)
from app.pointers import MAX_PROBLEMS, field_problems

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger("trainyard.problems")


class MethodNotAllowed(TrainyardError):
    """This path exists, but not with this method. `Allow` names those that it has."""

    status = 405
    slug = "method-not-allowed"


class UnsupportedMediaType(TrainyardError):
    """The body is of a type that is not read here. Send JSON, with `Content-Type: application/json`."""

    status = 415
    slug = "unsupported-media-type"


class NotAcceptable(TrainyardError):
    """The answer comes in no media type that `Accept` allows. Name one of those that the operation lists."""

    status = 406
    slug = "not-acceptable"


class RangeNotSatisfiable(TrainyardError):
    """No part of the file lies in this range. Ask for `bytes=FIRST-LAST` below the file's size."""

    status = 416
    slug = "range-not-satisfiable"

    def __init__(self, detail: str = "", *, size_bytes: int = 0) -> None:
        super().__init__(detail)
        self.size_bytes = size_bytes


class ParameterProblem(BaseModel):
    """One query parameter or header that cannot stay as it is."""

    parameter: str = Field(description="Its name.")
    detail: str = Field(description="What is wrong and what would be right.")
    code: str = Field(description="Which rule, for programs.")


class ProblemDocument(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="Which problem, for programs: `urn:trainyard:problem:...`.")
    title: str
    status: int
    detail: str = Field(description="What happened and what to do about it.")
    instance: str = Field(description="The path that was asked for.")
    request_id: str = Field(description="As in `X-Request-Id`: name it when you ask for help.")
    errors: list[FieldProblem | ParameterProblem] = Field([], description="Which fields or parameters are to blame.")
    state: str | None = Field(None, description="With 409: the state of the thing.")


class InvalidParameters(InvalidQuery):
    """Some query parameters or headers cannot be used. Change those that `errors` names."""

    def __init__(self, problems: list[ParameterProblem]) -> None:
        super().__init__(problems[0].detail if len(problems) == 1 else "")
        self.problems = problems

    def extras(self) -> dict[str, Any]:
        return {"errors": [problem.model_dump() for problem in self.problems]}


def install(app: FastAPI) -> None:
    """Let every error of this app be answered as a problem document."""
    app.add_exception_handler(TrainyardError, _domain_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _no_route)


def rendered(error: TrainyardError, scope: Scope, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that says this error."""
    document = {
        "type": f"urn:trainyard:problem:{error.slug}",
        "title": error.title(),
        "status": error.status,
        "detail": error.detail,
        "instance": scope["path"],
        "request_id": scope.get("state", {}).get("request_id", ""),
        **_extras(error),
    }
    # A path or text of the client's may hold what UTF-8 cannot say, and the answer must still be readable.
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, error.status, {**_headers(error), **(headers or {})}, MEDIA_TYPE)


class Unexpected:
    """Answers what no handler foresaw with a problem that leaks nothing; the traceback goes to the log.

    Stands inside the layers that add headers, so that a browser can read this answer too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            log.info("client_went_away")  # in the midst of its body: there is nobody to answer
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            log.exception("unexpected_error", error=type(error).__name__)
            await rendered(TrainyardError(), scope)(scope, receive, send)


def problems(*errors: type[TrainyardError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer these errors, for OpenAPI."""
    by_status: dict[int, list[type[TrainyardError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {status: _documented(group) for status, group in sorted(by_status.items())}


def _documented(errors: list[type[TrainyardError]]) -> dict[str, Any]:
    examples = {error.slug: {"summary": error.title(), "value": _example(error)} for error in errors}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}, "examples": examples}}
    described = {"description": " Or: ".join(error.advice() for error in errors), "content": content}
    headers = _HEADERS.get(errors[0].status)
    return {**described, "headers": headers} if headers else described


def _header(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": schema}


_HEADERS: dict[int, dict[str, Any]] = {
    416: {"Content-Range": _header("`bytes */SIZE`: how long the file is.", {"type": "string"})},
    503: {"Retry-After": _header("When to ask again, in seconds.", {"type": "integer", "minimum": 1})},
}


def _example(error: type[TrainyardError]) -> dict[str, Any]:
    return {
        "type": f"urn:trainyard:problem:{error.slug}",
        "title": error.title(),
        "status": error.status,
        "detail": error.advice(),
        "instance": "/v1/jobs",
        "request_id": "req_0a1b2c3d4e5f6a7b8c9d",
    }


def _extras(error: TrainyardError) -> dict[str, Any]:
    """What stands beside the standard members. Services name a query parameter by a pointer: `/cursor`."""
    extras = error.extras()
    if isinstance(error, InvalidQuery) and error.errors:
        named = [
            ParameterProblem(parameter=each.pointer.removeprefix("/"), detail=each.detail, code=each.code)
            for each in error.errors
        ]
        extras["errors"] = [each.model_dump() for each in named]
    return extras


def _headers(error: TrainyardError) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, OutOfScope):
        headers["WWW-Authenticate"] = 'Bearer error="insufficient_scope"'
    if error.ends_connection:
        headers["Connection"] = "close"
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size_bytes}"
    return headers


async def _domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TrainyardError)
    if error.status >= 500:
        cause = str(error.__cause__ or "").partition("\n")[0][:500]  # the database's own words; SQL stands behind them
        log.warning("refused", status=error.status, detail=error.detail, **({"cause": cause} if cause else {}))
    return rendered(error, request.scope)


async def _validation_error(request: Request, error: Exception) -> Response:
    """What FastAPI found wrong with parameters or body. Where both are wrong, the parameters are said first."""
    assert isinstance(error, RequestValidationError)
    found: list[dict[str, Any]] = list(error.errors())
    parameters = [each for each in found if each["loc"][0] != "body"]
    if parameters:
        return rendered(InvalidParameters([_parameter(each) for each in parameters[:MAX_PROBLEMS]]), request.scope)
    inner = [{**each, "loc": each["loc"][1:]} for each in found]
    annotation = getattr(request.scope.get("route"), "body_annotation", None)
    return rendered(InvalidSpec(errors=field_problems(inner, error.body, annotation)), request.scope)


def _parameter(error: Mapping[str, Any]) -> ParameterProblem:
    name = str(error["loc"][1])
    detail = field_problems([{**error, "loc": (name,)}], None)[0].detail
    return ParameterProblem(parameter=name, detail=detail, code=str(error["type"]))


async def _no_route(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, no such method. No route of ours raises it."""
    assert isinstance(error, HTTPException)
    known: dict[int, type[TrainyardError]] = {404: NotFound, 405: MethodNotAllowed, 413: PayloadTooLarge}
    unforeseen = TrainyardError if error.status_code >= 500 else BadRequest
    headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
    return rendered(known.get(error.status_code, unforeseen)(), request.scope, headers)


def _methods(request: Request) -> list[str]:
    """Those that the path has. Starlette names only those of the first route that matches it."""
    tried = ("GET", "POST", "PUT", "PATCH", "DELETE")
    routes = request.app.router.routes
    found = [
        method
        for method in tried
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ["GET", "HEAD", *found[1:]] if "GET" in found else found
