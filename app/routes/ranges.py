"""Which `Range` headers count here; Starlette then serves them, but would refuse the others as plain text."""

import re

from starlette.datastructures import Headers
from starlette.types import Scope

from app.problems import RangeNotSatisfiable

MAX_RANGES = 10
_RANGE = re.compile(r"(\d{0,18})-(\d{0,18})", re.ASCII)


def settle_range(scope: Scope, tag: str, size_bytes: int) -> None:
    """Leave a `Range` that can be served, take away one that RFC 9110 says to ignore.

    Raises `RangeNotSatisfiable` when a range lies outside the file.
    """
    headers = Headers(scope=scope)
    if "range" not in headers:
        return
    unit, _, parts = headers["range"].partition("=")
    matches = [_RANGE.fullmatch(part.strip()) for part in parts.split(",")]
    found = [(match[1], match[2]) for match in matches if match and match[0] != "-"]
    is_readable = len(found) == len(matches) and not any(_is_reversed(*each) for each in found)
    if unit.strip().lower() != "bytes" or not is_readable or headers.get("if-range", tag) != tag:
        scope["headers"] = [(key, value) for key, value in scope["headers"] if key != b"range"]
    elif len(found) > MAX_RANGES or not all(_is_inside(*each, size_bytes) for each in found):
        raise RangeNotSatisfiable(size_bytes=size_bytes)


def _is_reversed(first: str, last: str) -> bool:
    return bool(first and last) and int(first) > int(last)


def _is_inside(first: str, last: str, size_bytes: int) -> bool:
    if not first:
        return int(last) > 0 and size_bytes > 0  # the last so many bytes
    return int(first) < size_bytes
