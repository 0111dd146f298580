"""From pydantic's error locations to JSON Pointers (RFC 6901) into what the client sent.

A pydantic `loc` is not a path into the document: on entering a member of a tagged union it holds the tag as an extra
element, and for a bad key of a mapping it ends in '[key]'. Both are removed here. The model's annotations are followed
along with the value, since `{"kind": "team", "team": ...}` is a tagged union in one place and a plain mapping (labels)
in another, and only the annotation can tell.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from app.contract.failures import FieldProblem

MAX_PROBLEMS = 100
"""More than a person reads; a body can hold a hundred thousand mistakes."""

TAGS = ("kind", "type")


def to_pointer(path: Iterable[str | int]) -> str:
    """A JSON Pointer. Unpaired surrogates in keys are shown as `?`, since no answer could carry them."""
    tokens = [str(token).replace("~", "~0").replace("/", "~1") for token in path]
    return "".join(f"/{token}" for token in tokens).encode("utf-8", "replace").decode("utf-8")


def field_problems(errors: Iterable[Mapping[str, Any]], body: Any, annotation: Any = None) -> list[FieldProblem]:
    """Pydantic's errors about `body`, which was read as `annotation` (None: unknown), with pointers into `body`."""
    problems = (_field_problem(error, body, annotation) for error in errors)
    return [problem for problem, _ in zip(problems, range(MAX_PROBLEMS), strict=False)]


@dataclass(frozen=True)
class _Place:
    path: tuple[str | int, ...]
    value: Any
    annotation: Any
    parent: Any


def _field_problem(error: Mapping[str, Any], body: Any, annotation: Any) -> FieldProblem:
    place = _locate(tuple(error["loc"]), body, annotation)
    code = str(error["type"])
    path = place.path
    if code in ("union_tag_invalid", "union_tag_not_found"):
        path = (*path, _tag_name(error))
    return FieldProblem(pointer=to_pointer(path), detail=_detail(error, place), code=code)


def _locate(loc: tuple[str | int, ...], body: Any, annotation: Any) -> _Place:
    """Walk `loc` down the body, leaving out what pydantic added."""
    place = _Place((), body, annotation, None)
    tag_open = True  # a tag is skipped once at each node
    for element in loc:
        if tag_open and _is_tag(element, place):
            member = _member(place.annotation, element)
            place = _Place(place.path, place.value, member, place.parent)
            tag_open = False
        elif not (element == "[key]" and not isinstance(place.value, dict | list)):
            place = _step(place, element)
            tag_open = True
    return place


def _is_tag(element: str | int, place: _Place) -> bool:
    if not isinstance(place.value, dict) or not isinstance(element, str) or _is_mapping(place.annotation):
        return False
    if place.annotation is not None and not _members(place.annotation):
        return False
    told = [place.value[tag] for tag in TAGS if tag in place.value]
    return element in told or (not told and element in _members(place.annotation))  # a tag may have a default


def _step(place: _Place, element: str | int) -> _Place:
    value = None
    if isinstance(place.value, dict):
        value = place.value.get(element)
    elif isinstance(place.value, list) and isinstance(element, int) and element < len(place.value):
        value = place.value[element]
    return _Place((*place.path, element), value, _inner(place.annotation, element), place.annotation)


def _inner(annotation: Any, element: str | int) -> Any:
    """The annotation of one field or item; None when it is not known."""
    if _model(annotation) is not None:
        field = _model(annotation).model_fields.get(element)
        return field.annotation if field else None
    for each in _alternatives(annotation):
        origin, args = get_origin(each), get_args(each)
        if origin is dict:
            return args[1]
        if origin in (list, tuple) and args:
            return args[min(int(element), len(args) - 1)] if args[-1] is not Ellipsis else args[0]
    return None


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a union, or the annotation alone; without `Annotated` around them and without None."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [inner for each in get_args(annotation) for inner in _alternatives(each)]
    return [] if annotation in (None, type(None)) else [annotation]


def _models(annotation: Any) -> list[type[BaseModel]]:
    return [each for each in _alternatives(annotation) if isinstance(each, type) and issubclass(each, BaseModel)]


def _members(annotation: Any) -> dict[str, type[BaseModel]]:
    """The members of a tagged union by their tag; empty for anything else. A lone member has no tag in `loc`."""
    models = _models(annotation)
    tags = [tag for tag in TAGS if all(tag in model.model_fields for model in models)]
    return {model.model_fields[tags[0]].default: model for model in models} if len(models) > 1 and tags else {}


def _model(annotation: Any) -> Any:
    models = _models(annotation)
    return models[0] if len(models) == 1 else None


def _member(annotation: Any, tag: str | int) -> Any:
    return _members(annotation).get(str(tag))


def _is_mapping(annotation: Any) -> bool:
    return any(get_origin(each) is dict or each is dict for each in _alternatives(annotation))


def _tag_name(error: Mapping[str, Any]) -> str:
    return str(error.get("ctx", {}).get("discriminator", "'kind'")).strip("'")


def _detail(error: Mapping[str, Any], place: _Place) -> str:
    """Pydantic's text where it is good, ours where it speaks of Python."""
    code = str(error["type"])
    if code == "extra_forbidden":
        return _unknown_field(place)
    if code == "union_tag_not_found":
        return f"Say which {_tag_name(error)}."
    if code == "union_tag_invalid":
        return f"There is no such {_tag_name(error)}. Known here: {error['ctx']['expected_tags']}."
    if code == "missing" and not place.path:
        return "This request needs a JSON body."
    text = _TEXTS.get(code) or re.sub(r"^(Input|String|Dictionary|Tuple|List) should", "This should", str(error["msg"]))
    return text if text.endswith(".") else text + "."


_TEXTS = {
    "missing": "This field is required.",
    "model_attributes_type": "This must be a JSON object.",
    "model_type": "This must be a JSON object.",
    "dict_type": "This must be a JSON object.",
    "tuple_type": "This must be a JSON array.",
    "list_type": "This must be a JSON array.",
}


def _unknown_field(place: _Place) -> str:
    known = sorted(_names(place.parent))
    near = get_close_matches(str(place.path[-1]), known, n=1)
    if near:
        return f"There is no such field. Did you mean {near[0]}?"
    return f"There is no such field. Known here: {', '.join(known)}." if known else "There is no such field."


def _names(annotation: Any) -> Iterator[str]:
    model = _model(annotation)
    if model is not None:
        yield from model.model_fields
