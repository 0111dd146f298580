"""W3C Trace Context, level 1: what is valid is continued, everything else begins a new trace."""

import re

import pytest

from app.edge.trace import continued, trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def test_a_valid_header_is_continued_with_a_span_of_our_own():
    ours = continued(f"00-{TRACE}-{SPAN}-01")
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", ours)
    assert SPAN not in ours


def test_the_sampling_flag_of_the_caller_is_kept():
    assert continued(f"00-{TRACE}-{SPAN}-00").endswith("-00")


def test_a_later_version_with_more_behind_it_is_continued():
    assert trace_id(continued(f"01-{TRACE}-{SPAN}-01-what-comes")) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_an_invalid_header_begins_a_new_trace(header):
    ours = continued(header)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", ours)
    assert trace_id(ours) != TRACE
    assert continued(header) != ours
