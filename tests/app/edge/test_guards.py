"""Names in a Host header, and the origins that may change something."""

import pytest
from starlette.datastructures import Headers

from app.edge.guards import Origins, host_name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:8000", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[::1]", "::1"),
        ("train.example.org:443", "train.example.org"),
        ("", ""),
        ("localhost:x", ""),
        ("evil@localhost", ""),
        ("localhost/x", ""),
        ("localhost?x", ""),
        ("[::1", ""),
        ("localhost:99999", ""),
    ],
)
def test_the_name_is_taken_from_a_host_header(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        (None, False),
        ("http://localhost:8000", False),
        ("https://localhost:8000", False),
        ("https://app.example.org", False),
        ("https://app.example.org:444", True),
        ("http://localhost:8001", True),
        ("https://evil.example.org", True),
        ("null", True),
    ],
)
def test_only_our_own_and_named_origins_are_at_home(origin, foreign):
    guard = Origins(None, frozenset({"https://app.example.org/"}))
    headers = {"host": "localhost:8000"} | ({"origin": origin} if origin else {})
    assert guard._is_foreign(Headers(headers)) is foreign
