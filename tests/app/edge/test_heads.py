"""HEAD answers as GET does, without the body."""

import pytest


def test_head_has_the_headers_of_get(client, submit):
    path = f"/v1/jobs/{submit()['id']}"
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "retry-after"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/healthz", 200), ("/v1/jobs?limit=0", 422), ("/v1/jobs/job_1", 404), ("/v1/jobs/job_1/cancel", 405)],
)
def test_head_has_the_status_of_get(client, path, status):
    assert (client.head(path).status_code, client.head(path).content) == (status, b"")


def test_head_of_a_stream_ends(client, submit):
    answer = client.head(f"/v1/jobs/{submit()['id']}/events", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_head_is_logged_and_measured_as_a_head(client):
    client.head("/v1/catalog")
    assert 'method="HEAD",route="/v1/catalog",status="2xx"' in client.get("/metrics").text


def test_a_real_server_keeps_the_connection_after_a_head(serve):
    with serve() as (client, _):
        assert client.head("/openapi.json").headers["content-length"] != "0"
        stream = client.head("/v1/events", headers={"Accept": "text/event-stream"})
        assert (stream.status_code, client.get("/healthz").status_code) == (200, 200)
