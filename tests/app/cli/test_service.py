"""Answers of the service as a person reads them."""

import httpx
import pytest

from app.cli.exits import Exit
from app.cli.service import Refused, Unreachable, checked, patiently, problem_block


def answer(status: int, **options: object) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "http://here/"), **options)  # type: ignore[arg-type]


def test_a_problem_is_one_block_with_each_pointer() -> None:
    problem = {
        "title": "Some fields cannot stay as they are.",
        "status": 422,
        "detail": "Change what `errors` points at.",
        "errors": [
            {"pointer": "/training/batch_size", "detail": "Use 64.", "code": "not_divisible"},
            {"pointer": "", "detail": "Not an object.", "code": "type"},
        ],
    }
    assert problem_block(problem).splitlines() == [
        "Some fields cannot stay as they are. (422)",
        "  Change what `errors` points at.",
        "  /training/batch_size: Use 64.",
        "  (body): Not an object.",
    ]


def test_a_detail_that_only_repeats_a_field_is_said_once() -> None:
    problem = {"title": "No.", "detail": "Use 64.", "errors": [{"pointer": "/a", "detail": "Use 64."}]}
    assert problem_block(problem) == "No.\n  /a: Use 64."


def test_an_answer_that_is_no_problem_document_is_still_shown() -> None:
    with pytest.raises(Refused, match=r"Not Found \(404\)\n  <html>") as refused:
        checked(answer(404, text="<html>"))
    assert refused.value.exit_code == Exit.REFUSED


def test_not_now_says_when_to_ask_again() -> None:
    with pytest.raises(Unreachable) as unreachable:
        checked(answer(503, headers={"Retry-After": "7"}, json={"title": "Busy."}))
    assert unreachable.value.retry_after_s == 7
    assert unreachable.value.exit_code == Exit.UNREACHABLE


def test_patience_ends_and_is_told_once() -> None:
    told: list[str] = []
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise Unreachable("gone", retry_after_s=0.01)
        return "back"

    assert patiently(call, 60, told.append) == "back"
    assert len(told) == 1
    calls.clear()
    with pytest.raises(Unreachable):
        patiently(call, 0, told.append)
    assert len(calls) == 1
