"""Conditional requests (RFC 9110) and `Prefer: wait` (RFC 7240)."""

import re

MAX_WAIT_S = 60
"""The longest long poll: proxies tend to give up soon after."""

_TAG = re.compile(r'(W/)?"([^"]*)"')


def etag(version: int | str) -> str:
    """A strong entity tag."""
    return f'"{version}"'


def is_unchanged(if_none_match: str | None, current: str) -> bool:
    """Whether `If-None-Match` names what is there. Weak and strong tags compare alike here."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    return current.strip('"') in (tag for _, tag in _TAG.findall(if_none_match))


def expected_versions(if_match: str | None) -> list[int] | None:
    """The versions that `If-Match` allows; None: any. Weak tags never match here, so they allow nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    return [int(tag) for weak, tag in _TAG.findall(if_match) if not weak and re.fullmatch(r"[0-9]{1,18}", tag)]


def wait_s(prefer: str | None) -> int:
    """Seconds that `Prefer: wait=...` asks for, at most `MAX_WAIT_S`; 0 when it asks for none."""
    match = re.search(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', prefer or "", re.IGNORECASE | re.ASCII)
    return min(int(match[1]), MAX_WAIT_S) if match else 0
