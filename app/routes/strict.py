"""A route that refuses what others ignore: unknown query parameters, bodies that it does not take, loose JSON."""

import re
from collections.abc import Callable, Coroutine, Iterator
from email.message import Message
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import unquote_to_bytes

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from app.edge.strict_json import NotJson, loads, unstorable
from app.errors import BadRequest, InvalidSpec, NotFound, TrainyardError
from app.pointers import MAX_PROBLEMS
from app.problems import InvalidParameters, ParameterProblem, UnsupportedMediaType
from app.routes.inputs import PARTS

JSON = "application/json"
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
AtOnce = Callable[[Request], Response | None]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class StrictRequest(Request):
    """A request whose body was parsed by our rules before FastAPI asks for it."""

    async def json(self) -> Any:
        """The value that `StrictRoute` read."""
        return self.state.body


class StrictRoute(APIRoute):
    """Checks a request against what its route declares, before anything of it is used.

    An endpoint with a `query_prefix` attribute also takes parameters whose names begin so (`label.team`). One that is
    `answered_at_once` is asked for that first.
    """

    @property
    def body_annotation(self) -> Any:
        """What the body is read as: followed by error pointers."""
        return self.body_field.field_info.annotation if self.body_field else None

    def get_route_handler(self) -> Handler:
        """FastAPI's hook: wraps the handler that it would use."""
        handle = super().get_route_handler()
        declared = dict(_query_parameters(self.dependant))
        prefix = getattr(self.endpoint, "query_prefix", None)
        at_once = self._at_once

        async def strict(request: Request) -> Response:
            _check_path(request)
            _check_query(request, declared, prefix)
            if request.method not in ("GET", "HEAD"):
                request = await self._with_body(request)
            return at_once(request) or await handle(request)

        return strict

    @property
    def _at_once(self) -> AtOnce:
        """Never for a route with a dependency that may refuse the caller: FastAPI asks them, and this comes before."""
        may_refuse = any(each.call not in PARTS for each in self.dependant.dependencies)
        return _nothing if may_refuse else getattr(self.endpoint, "at_once", _nothing)

    async def _with_body(self, request: Request) -> StrictRequest:
        parsed = StrictRequest(request.scope, request.receive)
        body = await parsed.body()
        if self.body_field is None:
            _check_no_body(body)
        elif body:
            self._check_media_type(request)
            parsed.state.body = _parsed(body)
        return parsed

    def _check_media_type(self, request: Request) -> None:
        accepted = {JSON, *(self.openapi_extra or {}).get("requestBody", {}).get("content", {})}
        if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise UnsupportedMediaType(
                "Compressed bodies are not read: a small one can unpack to any size. Send it plain."
            )
        header = Message()
        header["content-type"] = request.headers.get("content-type", "text/plain")
        charset = str(header.get_param("charset", "utf-8")).lower()
        if header.get_content_type() not in accepted or charset not in ("utf-8", "us-ascii"):
            raise UnsupportedMediaType(f"This body is read as {' or '.join(sorted(accepted))}, in UTF-8.")


class StreamedRoute(StrictRoute):
    """The same for one whose endpoint reads the body itself, piece by piece. A refusal ends the connection."""

    def get_route_handler(self) -> Handler:
        """FastAPI's hook."""
        handle = super().get_route_handler()

        async def streamed(request: Request) -> Response:
            try:
                return await handle(request)
            except TrainyardError as error:
                error.ends_connection = True
                raise

        return streamed

    async def _with_body(self, request: Request) -> StrictRequest:
        return StrictRequest(request.scope, request.receive)


def answered_at_once(answer: AtOnce) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint whose answer may be ready: what `answer` gives goes out as it is; None: ask the endpoint.

    Reading parameters and dependencies costs FastAPI 80 µs, which is most of a short answer.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.at_once = answer  # type: ignore[attr-defined]
        return endpoint

    return mark


def _nothing(_: Request) -> None:
    return None


def _parsed(body: bytes) -> Any:
    try:
        value = loads(body)
    except NotJson as error:
        raise BadRequest(f"The body is not JSON: {error}") from error
    errors = [problem for problem, _ in zip(unstorable(value), range(MAX_PROBLEMS), strict=False)]
    if errors:
        raise InvalidSpec(errors=errors)
    return value


def _check_no_body(body: bytes) -> None:
    """An empty object is what many clients send when there is nothing to say."""
    if body.strip() not in (b"", b"{}"):
        raise InvalidSpec.at("", "unexpected_body", "This request takes no body.")


def _check_path(request: Request) -> None:
    if any("\x00" in str(value) for value in request.path_params.values()):
        raise NotFound()


def _check_query(request: Request, declared: dict[str, bool], prefix: str | None) -> None:
    problems = list(_query_problems(request, declared, prefix)) if request.scope["query_string"] else []
    if problems:
        raise InvalidParameters(problems[:MAX_PROBLEMS])


def _query_problems(request: Request, declared: dict[str, bool], prefix: str | None) -> Iterator[ParameterProblem]:
    yield from _unreadable(request.scope["query_string"])
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        shown = re.sub(r"[^\x20-\x7e]", "?", name)[:100]
        if name not in declared and not (prefix and name.startswith(prefix)):
            known = ", ".join(sorted(declared)) or "none"
            detail = f"There is no such parameter. Known: {known}."
            yield ParameterProblem(parameter=shown, detail=detail, code="unknown")
        elif name in seen and not declared.get(name, False):
            yield ParameterProblem(parameter=shown, detail="Give this parameter once.", code="repeated")
        elif "\x00" in name + value:
            yield ParameterProblem(parameter=shown, detail="NUL characters are not allowed.", code="nul_character")
        seen.add(name)


def _unreadable(query: bytes) -> Iterator[ParameterProblem]:
    """Parts that would be read as something else than was sent: half an escape as text, bad UTF-8 as U+FFFD."""
    for part in query.split(b"&") if b"%" in query else ():
        name = re.sub(rb"[^\x20-\x7e]", b"?", part.partition(b"=")[0])[:100].decode()
        if _BAD_ESCAPE.search(part):
            detail = "`%` begins two hexadecimal digits: write a percent sign as `%25`."
            yield ParameterProblem(parameter=name, detail=detail, code="bad_escape")
        elif not _is_utf8(unquote_to_bytes(part)):
            yield ParameterProblem(parameter=name, detail="This is not UTF-8.", code="not_utf8")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Name, and whether it may be given more than once."""
    for field in dependant.query_params:
        yield field.alias, _is_list(field.field_info.annotation)
    for inner in dependant.dependencies:
        yield from _query_parameters(inner)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(get_origin(each) is list for each in get_args(annotation))
