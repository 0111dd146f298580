"""Logs over HTTP: which lines, in which form, and how they are followed."""

import json

import pytest

STREAM = {"Accept": "text/event-stream"}


def line(number, **more):
    return {"time": "2026-11-21T10:00:00Z", "attempt": 1, "rank": 0, "level": "info", "message": f"m{number}"} | more


@pytest.fixture
def logged(submit, settings):
    """A queued job and a function that writes lines as its supervisor would."""
    job = submit()["id"]
    folder = settings.attempt_dir(job, 1)
    folder.mkdir(parents=True)

    def write(*lines):
        with (folder / "log.ndjson").open("a") as file:
            file.writelines(json.dumps(each) + "\n" for each in lines)

    return job, write


def shown(answer):
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(each)["message"] for each in answer.text.splitlines()]


def test_lines_are_ndjson_and_read_on_by_cursor(client, logged):
    job, write = logged
    write(*(line(number) for number in range(5)))
    first = client.get(f"/v1/jobs/{job}/logs", params={"limit": 3})
    rest = client.get(f"/v1/jobs/{job}/logs", params={"after": first.headers["x-next-cursor"]})
    assert (shown(first), shown(rest)) == (["m0", "m1", "m2"], ["m3", "m4"])
    assert json.loads(first.text.splitlines()[0]) == line(0)


def test_the_tail_and_the_filters_choose(client, logged):
    job, write = logged
    write(line(0), line(1, rank=1), line(2, level="error"), line(3, rank=None))
    for query, expected in (
        ("tail=2", ["m2", "m3"]),
        ("rank=1", ["m1"]),
        ("level=warning", ["m2"]),
        ("search=M3", ["m3"]),
        ("tail=1&rank=0", ["m2"]),
    ):
        assert shown(client.get(f"/v1/jobs/{job}/logs?{query}")) == expected, query


def test_text_is_sent_to_those_who_read_it(client, logged):
    job, write = logged
    write(line(0, level="warning"), line(1, rank=None))
    answer = client.get(f"/v1/jobs/{job}/logs", headers={"Accept": "text/plain"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == (
        "2026-11-21T10:00:00Z WARNING [attempt 1 rank 0] m0\n2026-11-21T10:00:00Z INFO    [attempt 1] m1\n"
    )


def test_a_job_without_a_log_has_an_empty_one_and_an_unknown_job_none(client, submit):
    assert shown(client.get(f"/v1/jobs/{submit()['id']}/logs")) == []
    assert client.get("/v1/jobs/job_none/logs").status_code == 404


@pytest.mark.parametrize(
    "query", ["after=x", "after=1:2&tail=3", "tail=0", "tail=10001", "level=loud", "rank=-1", "limit=0", "follow=true"]
)
def test_what_cannot_be_meant_is_refused(client, submit, query):
    assert client.get(f"/v1/jobs/{submit()['id']}/logs?{query}").status_code == 422


def test_the_stream_ends_when_the_job_is_over_and_all_was_said(client, logged, messages):
    job, write = logged
    write(*(line(number) for number in range(3)))
    client.post(f"/v1/jobs/{job}/cancel")
    answer = client.get(f"/v1/jobs/{job}/logs?tail=2", headers=STREAM)
    told = [each for each in messages(iter(answer.text.split("\n"))) if "data" in each]
    assert [each["data"]["message"] for each in told] == ["m1", "m2"]
    again = client.get(f"/v1/jobs/{job}/logs", headers={**STREAM, "Last-Event-ID": told[0]["id"]})
    assert [each["data"]["message"] for each in messages(iter(again.text.split("\n"))) if "data" in each] == ["m2"]


def test_a_server_streams_lines_as_they_are_written(serve, spec, settings, messages):
    with serve() as (client, _):
        job = client.post("/v1/jobs", json=spec).json()["id"]
        folder = settings.attempt_dir(job, 1)
        folder.mkdir(parents=True)
        with (folder / "log.ndjson").open("a", buffering=1) as file:
            file.write(json.dumps(line(0)) + "\n")
            with client.stream("GET", f"/v1/jobs/{job}/logs", headers=STREAM) as answer:
                told = (each for each in messages(answer.iter_lines()) if "data" in each)
                assert next(told)["data"]["message"] == "m0"
                file.write(json.dumps(line(1)) + "\n")
                assert next(told)["data"]["message"] == "m1"
                client.post(f"/v1/jobs/{job}/cancel")
                assert list(told) == []
