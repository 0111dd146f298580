"""What `json.loads` lets through and the service must not."""

import pytest

from app.edge.strict_json import MAX_DEPTH, NotJson, loads, unstorable


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b"{'a':1}",
        b"NaN",
        b'{"a": Infinity}',
        b"[-Infinity]",
        b"[1e999]",
        b'{"a":1,"a":2}',
        b'{"x":[{"a":1,"a":1}]}',
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b'{"a":\x00}',
        b"1" * 5000,
        b"[" * 100_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    ],
)
def test_what_is_not_plain_json_is_refused_with_a_reason(body):
    with pytest.raises(NotJson, match=r"\.$"):
        loads(body)


def test_the_deepest_nesting_that_is_allowed_is_read():
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def test_ordinary_json_is_read_as_it_is():
    assert loads('{"a": [1, 2.5, "ä😀", null, true]}'.encode()) == {"a": [1, 2.5, "ä😀", None, True]}


def test_a_whole_number_is_an_integer_however_it_is_written():
    found = loads(b"[22.0, 2e3, -1.0, 0.5, 1e300]")
    assert [(type(each), each) for each in found] == [(int, 22), (int, 2000), (int, -1), (float, 0.5), (float, 1e300)]


def test_texts_that_no_database_holds_are_pointed_at():
    value = loads(rb'{"name": "\ud800", "labels": {"k\u0000": "v", "ok": "\ud83d\ude00"}, "list": ["\udc00"]}')
    assert [(problem.pointer, problem.code) for problem in unstorable(value)] == [
        ("/name", "lone_surrogate"),
        ("/labels/k\x00", "nul_character"),
        ("/list/0", "lone_surrogate"),
    ]
