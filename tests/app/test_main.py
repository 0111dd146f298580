"""How the service is put together: what passes it, and that it answers for what it did."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from app.store.session import Database

SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


def test_importing_the_app_opens_nothing_and_configures_nothing():
    code = (
        "import logging, threading, app.main; assert threading.active_count() == 1;"
        "assert not logging.getLogger().handlers; import structlog; assert not structlog.is_configured()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_no_route_raises_an_http_exception_or_knows_sql():
    sources = list(Path("app/routes").glob("*.py"))
    assert len(sources) > 15
    for source in sources:
        imported = {
            alias.name
            for node in ast.walk(ast.parse(source.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not imported & {"HTTPException", "sqlalchemy", "select", "text"}, source


def test_every_answer_carries_the_safe_headers_and_an_id(client):
    for path in ("/v1/jobs", "/nowhere", "/v1/jobs/none"):
        headers = client.get(path).headers
        assert {name: headers[name] for name in SAFE} == SAFE
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-request-id"].startswith("req_")


def test_a_request_id_of_the_caller_is_kept_when_it_is_harmless(client):
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    assert client.get("/healthz", headers={"X-Request-Id": 'a"b c'}).headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000"])
def test_the_names_of_this_machine_are_served(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example.org", "localhost.evil.org", "127.0.0.1.nip.io", ""])
def test_a_foreign_host_name_is_refused(client, host):
    answer = client.get("/v1/jobs", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_host_of_the_setting_is_served(make_app, as_client):
    client = as_client(make_app(allowed_hosts=("train.example.org",)))
    assert client.get("/healthz", headers={"Host": "TRAIN.example.org:443"}).status_code == 200


def test_a_change_from_a_foreign_page_is_refused_and_changes_nothing(client, spec):
    answer = client.post("/v1/jobs", json=spec, headers={"Origin": "https://evil.example.org"})
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:trainyard:problem:forbidden"
    assert client.get("/v1/jobs").json()["items"] == []


def test_a_change_from_our_own_page_is_served(client, spec):
    assert client.post("/v1/jobs", json=spec, headers={"Origin": "http://localhost"}).status_code == 201


def test_by_default_no_origin_may_read(client):
    answer = client.get("/v1/jobs", headers={"Origin": "https://app.example.org"})
    assert "access-control-allow-origin" not in answer.headers
    asked = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
    assert client.options("/v1/jobs", headers=asked).status_code == 405


class TestNamedOrigin:
    """What a web frontend of a named origin needs."""

    origin = "https://app.example.org"

    @pytest.fixture
    def client(self, make_app, as_client):
        return as_client(make_app(cors_origins=(self.origin,)))

    def test_it_may_read_answers_and_their_headers(self, client):
        headers = client.get("/v1/jobs", headers={"Origin": self.origin}).headers
        assert headers["access-control-allow-origin"] == self.origin
        assert "ETag" in headers["access-control-expose-headers"]
        assert "Origin" in headers["vary"]

    def test_it_may_change_and_read_refusals(self, client, spec):
        assert client.post("/v1/jobs", json=spec, headers={"Origin": self.origin}).status_code == 201
        refused = client.post("/v1/jobs", json={}, headers={"Origin": self.origin})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (422, self.origin)

    def test_its_preflight_is_answered(self, client):
        asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "idempotency-key,if-match"}
        answer = client.options("/v1/jobs/job_1", headers={"Origin": self.origin, **asked})
        assert answer.status_code == 200
        assert "PATCH" in answer.headers["access-control-allow-methods"]

    def test_another_origin_is_refused_as_a_problem(self, client):
        asked = {"Origin": "https://evil.example.org", "Access-Control-Request-Method": "POST"}
        answer = client.options("/v1/jobs", headers=asked)
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
        assert "access-control-allow-origin" not in answer.headers


def test_what_nobody_foresaw_is_a_problem_that_leaks_nothing(app, as_client, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("the secret cause")

    monkeypatch.setattr("app.routes.jobs.listing.find_jobs", broken)
    answer = as_client(app).get("/v1/jobs", headers={"X-Request-Id": "r-1"})
    assert answer.status_code == 500
    assert (answer.json()["status"], answer.json()["request_id"]) == (500, "r-1")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    logged = capsys.readouterr().err
    assert "the secret cause" in logged
    assert "r-1" in logged


def test_the_answer_to_a_submit_is_sent_only_after_the_commit(app, client, spec, monkeypatch):
    seen = []
    write = Database.write

    def watched(self):
        from contextlib import contextmanager

        @contextmanager
        def wrapped():
            with write(self) as session:
                yield session
            seen.append("committed")

        return wrapped()

    monkeypatch.setattr(Database, "write", watched)

    async def recorded(scope, receive, send):
        async def sent(message):
            seen.append(message["type"])
            await send(message)

        await app(scope, receive, sent)

    from starlette.testclient import TestClient

    TestClient(recorded, base_url="http://localhost").post("/v1/jobs", json=spec)
    assert seen == ["committed", "http.response.start", "http.response.body"]


def test_a_commit_that_fails_is_not_answered_as_success(client, spec, monkeypatch):
    from sqlalchemy.orm import Session

    def fails(self):
        raise RuntimeError("disk full")

    monkeypatch.setattr(Session, "commit", fails)
    assert client.post("/v1/jobs", json=spec).status_code == 500
    monkeypatch.undo()
    assert client.get("/v1/jobs").json()["items"] == []


def test_the_trace_of_a_request_goes_with_the_job_to_the_worker(client, worker, spec):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    client.post("/v1/jobs", json=spec, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert worker.claim()["traceparent"].split("-")[1] == trace


def test_logs_are_json_lines_with_the_ids_of_request_trace_and_job(make_app, as_client, capsys):
    client = as_client(make_app(log_format="json"))
    capsys.readouterr()
    client.get("/v1/jobs/job_none", headers={"X-Request-Id": "r-7"})
    line = next(each for each in map(json.loads, capsys.readouterr().err.splitlines()) if each["event"] == "request")
    assert (line["request_id"], line["job"], line["status"], line["path"]) == (
        "r-7",
        "job_none",
        404,
        "/v1/jobs/job_none",
    )
    assert len(line["trace_id"]) == 32


def test_log_fields_of_one_request_do_not_leak_into_the_next(make_app, as_client, capsys):
    as_client(make_app(log_format="json")).get("/v1/jobs/job_none")
    capsys.readouterr()
    structlog.get_logger("later").warning("later")
    assert {"request_id", "job"} & json.loads(capsys.readouterr().err).keys() == set()
