"""Entity tags and preferences as the standards have them."""

import pytest

from app.routes.conditions import MAX_WAIT_S, etag, expected_versions, is_unchanged, wait_s


@pytest.mark.parametrize(
    ("header", "unchanged"),
    [
        (None, False),
        ('"12"', True),
        ('W/"12"', True),
        ('"11", W/"12" , "13"', True),
        ("*", True),
        ('"11"', False),
        ("12", False),
        ("", False),
    ],
)
def test_if_none_match_compares_weakly(header, unchanged):
    assert is_unchanged(header, etag(12)) is unchanged


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (None, None),
        ("*", None),
        ('"3"', [3]),
        ('"3", "4"', [3, 4]),
        ('W/"3"', []),
        ('"x"', []),
        ("3", []),
    ],
)
def test_if_match_compares_strongly(header, versions):
    assert expected_versions(header) == versions


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("wait=25", 25),
        ("respond-async, wait=10", 10),
        ("WAIT = 5; x=1", 5),
        ("wait=100000", MAX_WAIT_S),
        ("wait=-1", 0),
        ("await=3", 0),
        ("wait=abc", 0),
    ],
)
def test_prefer_wait_is_read_and_capped(header, seconds):
    assert wait_s(header) == seconds
