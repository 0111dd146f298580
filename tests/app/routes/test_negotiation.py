"""Which representation a client gets, by its `Accept`."""

import pytest

from app.problems import NotAcceptable
from app.routes.negotiation import preferred

JSON, PNG = "application/json", "image/png"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON), ("", JSON), (" , ", JSON), ("*/*", JSON), ("image/png", PNG), ("IMAGE/PNG", PNG),
        ("image/*", PNG), ("application/*", JSON), ("application/json", JSON), ("application/json, image/png", JSON),
        ("image/png, application/json;q=0.9", PNG), ("image/png;q=0.5, */*;q=0.1", PNG), ("image/png;q=0, */*", JSON),
        ("application/json;q=0, */*", PNG), ("text/html, image/*;q=0.8, */*;q=0.5", PNG),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON), ("image/png; q = 0.3, application/json;q=0.4", JSON),
        ("image/png;level=1", PNG), ("application/json;q=7, image/png", JSON), ("image/png;q=oops, */*", JSON),
    ],
)  # fmt: skip
def test_what_is_weighed_most_is_answered(accept, expected):
    assert preferred(accept, (JSON, PNG)) == expected


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg", "*/*;q=0", "nonsense", "image/png;q=0", "json", "q=1"])
def test_what_nothing_fits_is_refused_with_what_there_is(accept):
    with pytest.raises(NotAcceptable, match=r"application/json or image/png"):
        preferred(accept, (JSON, PNG))
