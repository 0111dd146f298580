"""JSON as RFC 8259 has it, and no more: what `json.loads` lets through would be an ambiguity or a crash later.

Refused: NaN and infinities, numbers that overflow to one, keys that occur twice, invalid UTF-8, a byte order mark,
unpaired surrogates and NUL characters (no database stores either), and nesting deeper than `MAX_DEPTH`.
"""

import json
from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import Any

from app.contract.failures import FieldProblem
from app.pointers import to_pointer

MAX_DEPTH = 32
"""A job spec nests 5 deep."""

EXACT = 2.0**53
"""Below this every integer is a float of its own."""


class NotJson(ValueError):
    """The bytes are not one JSON value; the text says where."""


def loads(body: bytes) -> Any:
    """The value in `body`. Raises `NotJson`."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_repeats,
        )
    except UnicodeDecodeError as error:
        raise NotJson(f"Byte {error.start} is not valid UTF-8.") from error
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg}, at line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise NotJson(f"Nested deeper than {MAX_DEPTH} levels.") from error
    except ValueError as error:
        raise _worded(error) from error
    if _too_deep(value):
        raise NotJson(f"Nested deeper than {MAX_DEPTH} levels.")
    return value


def unstorable(value: Any) -> Iterator[FieldProblem]:
    """Every text in `value`, keys included, that no database can hold."""
    for path, text in _texts(value):
        code = _unstorable_code(text)
        if code == "nul_character":
            yield FieldProblem(pointer=to_pointer(path), detail="NUL characters cannot be stored.", code=code)
        elif code:
            detail = "An unpaired surrogate (\\ud800 to \\udfff) is not a character."
            yield FieldProblem(pointer=to_pointer(path), detail=detail, code=code)


def _unstorable_code(text: str) -> str | None:
    if "\x00" in text:
        return "nul_character"
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "lone_surrogate"
    return None


def _no_constant(name: str) -> float:
    raise NotJson(f"{name} is not JSON.")


def _finite(digits: str) -> float | int:
    """JSON has one type of number: `2.0` and `2e0` are the integer 2 to a schema, so they are to us."""
    value = float(digits)
    if not isfinite(value):
        raise NotJson(f"The number {digits[:40]} is too large.")
    return int(value) if value.is_integer() and abs(value) < EXACT else value


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise NotJson(f"The key {json.dumps(twice[:100])} occurs twice in one object.")
    return found


def _worded(error: ValueError) -> NotJson:
    """Python refuses integers of more than 4,300 digits with a plain ValueError."""
    return error if isinstance(error, NotJson) else NotJson("A number has too many digits.")


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for each in level for _, child in _children(each) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    for key, child in _children(value):
        if isinstance(key, str):
            yield (*path, key), key
        yield from _texts(child, (*path, key))
