"""Every refusal is one shape (RFC 9457), whoever it comes from."""

import json

import pytest

from app import errors
from app.contract.failures import FieldProblem
from app.errors import TrainyardError
from app.problems import ProblemDocument, RangeNotSatisfiable, problems, rendered

SCOPE = {"type": "http", "path": "/v1/jobs/job_1", "state": {"request_id": "req_1"}}


def all_errors(of=TrainyardError):
    return {of, *(each for sub in of.__subclasses__() for each in all_errors(sub))}


def document(answer):
    assert answer.media_type == "application/problem+json"
    found = json.loads(answer.body)
    ProblemDocument.model_validate(found)
    assert found["status"] == answer.status_code
    return found


def test_a_problem_says_what_where_and_which_request():
    assert document(rendered(errors.NotFound("There is no job job_1."), SCOPE)) == {
        "type": "urn:trainyard:problem:not-found",
        "title": "Not found.",
        "status": 404,
        "detail": "There is no job job_1.",
        "instance": "/v1/jobs/job_1",
        "request_id": "req_1",
    }


def test_fields_that_are_to_blame_are_listed():
    error = errors.InvalidSpec(errors=[FieldProblem(pointer="/a", detail="No.", code="x")])
    assert document(rendered(error, SCOPE))["errors"] == [{"pointer": "/a", "detail": "No.", "code": "x"}]


def test_a_conflict_says_the_state():
    assert document(rendered(errors.Conflict("It is over.", state="failed"), SCOPE))["state"] == "failed"


def test_headers_go_with_the_errors_that_need_them():
    assert rendered(errors.ServiceUnavailable(retry_after_s=0.2), SCOPE).headers["retry-after"] == "1"
    assert rendered(errors.Unauthorized(), SCOPE).headers["www-authenticate"] == "Bearer"
    assert rendered(RangeNotSatisfiable(size_bytes=9), SCOPE).headers["content-range"] == "bytes */9"
    assert rendered(errors.NotFound(), SCOPE).headers["cache-control"] == "no-store"


def test_what_utf_8_cannot_say_does_not_break_the_answer():
    answer = rendered(errors.NotFound("no \ud800"), {**SCOPE, "path": "/\udcff"})
    assert document(answer)["detail"] == "no ?"


def test_every_error_gives_advice_and_a_type_of_its_own():
    found = [each for each in all_errors() if each.__module__.startswith("app.")]
    assert len(found) > 15
    for error in found:
        assert error.advice().count(".") >= 2, error
        assert 400 <= error.status <= 599


@pytest.mark.parametrize("error", sorted(all_errors() - {TrainyardError}, key=lambda each: each.__name__))
def test_errors_are_described_for_openapi_by_their_classes(error):
    described = problems(error)[error.status]
    example = described["content"]["application/problem+json"]["examples"][error.slug]["value"]
    assert ProblemDocument.model_validate(example).type.endswith(error.slug)
    assert described["description"] == error.advice()
