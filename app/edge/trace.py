"""W3C Trace Context: a request joins its caller's trace, or begins one, and the job that it makes carries it on."""

import re
import secrets

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


def continued(traceparent: str | None) -> str:
    """A `traceparent` for this request's own span: in the caller's trace if its header is valid, else in a new one."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None or not _is_valid(match):
        return f"00-{_random_hex(16)}-{_random_hex(8)}-01"
    return f"00-{match[2]}-{_random_hex(8)}-{match[4]}"


def trace_id(traceparent: str) -> str:
    """The 32 hex digits that all spans of a trace share."""
    return traceparent.split("-")[1]


def _is_valid(match: re.Match[str]) -> bool:
    """Version ff, ids of zeros only, and a version 00 with something behind it are invalid by the standard."""
    version, trace, span, _, more = match.groups()
    return version != "ff" and trace.strip("0") != "" and span.strip("0") != "" and not (version == "00" and more)


def _random_hex(size_bytes: int) -> str:
    """Random digits, the last byte fixed, since the standard forbids an id of zeros only."""
    return secrets.token_hex(size_bytes - 1) + "01"
