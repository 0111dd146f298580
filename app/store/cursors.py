"""Opaque cursors: a place in an order, as text. One that another question made is refused, not guessed at."""

import base64
import binascii
import json
import math
from typing import Any

from app.errors import InvalidQuery


def write_cursor(question: str, *place: float | str) -> str:
    """The place as text. Floats keep every bit."""
    return base64.urlsafe_b64encode(json.dumps([question, *place]).encode()).decode().rstrip("=")


def read_cursor(question: str, cursor: str, types: tuple[type, ...], parameter: str = "cursor") -> tuple[Any, ...]:
    """The place that `write_cursor` wrote for the same question. Raises `InvalidQuery` for anything else."""
    place = _decoded(cursor)
    if len(place) == len(types) + 1 and place[0] == question:
        values = place[1:]
        if all(type(value) is wanted and _is_usable(value) for value, wanted in zip(values, types, strict=True)):
            return tuple(values)
    detail = "This is not a cursor of this list. Begin without one, and send back what the answer gives you."
    raise InvalidQuery.at(f"/{parameter}", "bad_cursor", detail)


def _decoded(cursor: str) -> list[Any]:
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _is_usable(value: Any) -> bool:
    """What both databases can compare with."""
    if isinstance(value, str):
        return "\x00" not in value and value.isascii()
    return math.isfinite(value) and abs(value) < 2**62
