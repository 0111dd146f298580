"""The door: who needs a key where, what each key opens, and that no key is ever written down."""

import json
import threading
import time

import httpx
import pytest
from starlette.testclient import TestClient

from app.contract.keys import Scope
from app.edge import keys as edge
from app.services import keys
from tests.app.conftest import TOKEN

OPEN = ("/healthz", "/readyz")
CLOSED = ("/v1/jobs", "/v1/jobs/job_none", "/v1/events", "/metrics", "/openapi.json", "/nowhere", "/", "/healthz/x")


@pytest.fixture
def make_key(database):
    """Makes a key; returns (id, header)."""

    def make(*scopes):
        with database.write() as session:
            made = keys.create(session, "someone", frozenset(scopes or Scope), None)
        return made.id, {"Authorization": f"Bearer {made.key}"}

    return make


@pytest.fixture
def guarded(make_app, as_client):
    """A client for a service that requires keys."""
    return as_client(make_app(require_keys=True))


def problem(answer, status, slug):
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.json()["type"] == f"urn:trainyard:problem:{slug}"
    return answer


class TestRequired:
    """Every request but the probes' shows a key."""

    @pytest.mark.parametrize("path", CLOSED)
    def test_nothing_is_told_without_one(self, guarded, path):
        answer = problem(guarded.get(path), 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("path", OPEN)
    def test_probes_need_none(self, guarded, path):
        assert guarded.get(path).status_code == 200

    @pytest.mark.parametrize("header", [
        "", "Bearer", "Bearer ", "Bearer wrong", "Basic dTpw", f"Bearer {TOKEN}", "Bearer trainyard_" + "a" * 43,
        "bearer trainyard_", "trainyard_" + "a" * 43, "Bearer \xfc",
    ])  # fmt: skip
    def test_what_is_no_key_opens_nothing(self, guarded, spec, header):
        sent = {"Authorization": header.encode("latin-1")}
        problem(guarded.get("/v1/jobs", headers=sent), 401, "unauthorized")
        problem(guarded.post("/v1/jobs", json=spec, headers=sent), 401, "unauthorized")

    def test_a_key_opens_everything(self, guarded, spec, make_key):
        _, header = make_key()
        job = guarded.post("/v1/jobs", json=spec, headers=header).json()["id"]
        assert guarded.get(f"/v1/jobs/{job}", headers=header).status_code == 200
        assert guarded.post(f"/v1/jobs/{job}/pause", headers=header).status_code == 200
        assert guarded.get("/metrics", headers=header).status_code == 200
        problem(guarded.get("/nowhere", headers=header), 404, "not-found")

    def test_scopes_are_enforced_by_method(self, guarded, spec, make_key):
        (_, reader), (_, writer) = make_key(Scope.READ), make_key(Scope.WRITE)
        refused = problem(guarded.post("/v1/jobs", json=spec, headers=reader), 403, "out-of-scope")
        assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
        job = guarded.post("/v1/jobs", json=spec, headers=writer).json()["id"]
        for method in ("GET", "HEAD"):
            assert guarded.request(method, f"/v1/jobs/{job}", headers=reader).status_code == 200
            assert guarded.request(method, f"/v1/jobs/{job}", headers=writer).status_code == 403
        for method in ("PATCH", "DELETE", "PUT"):
            problem(guarded.request(method, f"/v1/jobs/{job}", headers=reader), 403, "out-of-scope")

    def test_a_revoked_key_is_refused_at_the_next_request(self, guarded, database, make_key):
        key_id, header = make_key()
        assert guarded.get("/v1/jobs", headers=header).status_code == 200
        with database.write() as session:
            keys.revoke(session, key_id)
        problem(guarded.get("/v1/jobs", headers=header), 401, "unauthorized")

    def test_nothing_is_read_of_a_body_that_no_key_comes_with(self, guarded):
        problem(guarded.post("/v1/jobs", content=b"x" * 3_000_000), 401, "unauthorized")

    def test_headers_of_a_proxy_bring_nobody_nearer(self, guarded):
        near = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1;host=localhost"}
        problem(guarded.get("/v1/jobs", headers=near | {"X-Forwarded-Host": "localhost"}), 401, "unauthorized")


class TestWorkersDoor:
    """Its token opens nothing else, and no key opens it."""

    def test_a_worker_needs_no_key(self, guarded):
        answer = guarded.get("/internal/v1/workers", headers={"Authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()) == (200, {"items": []})

    def test_no_key_opens_it(self, guarded, make_key):
        _, header = make_key()
        for method, path in (("GET", "workers"), ("POST", "claims")):
            problem(guarded.request(method, f"/internal/v1/{path}", json={}, headers=header), 401, "unauthorized")

    @pytest.mark.parametrize("path", ["/internal/v1/../../v1/jobs", "/internal/v1/%2e%2e/%2e%2e/v1/jobs", "//v1/jobs"])
    def test_no_detour_leads_past_the_keys(self, guarded, path):
        assert guarded.get(path).status_code in (401, 404)


class TestAddress:
    """Where the connection came in decides, whatever was said at the start."""

    def test_over_loopback_none_is_needed(self, client, spec):
        assert client.post("/v1/jobs", json=spec).status_code == 201

    @pytest.mark.parametrize("address", ["192.0.2.2", "10.1.2.3", "[fd00::2]"])
    def test_over_an_address_that_others_reach_one_is(self, app, make_key, address):
        client = TestClient(app, base_url=f"http://{address}", raise_server_exceptions=False)
        problem(client.get("/v1/jobs"), 401, "unauthorized")
        assert client.get("/v1/jobs", headers=make_key()[1]).status_code == 200

    def test_the_address_that_was_connected_to_is_a_name_of_ours_and_no_other(self, app, make_key):
        client = TestClient(app, base_url="http://192.0.2.2", raise_server_exceptions=False)
        for host in ("192.0.2.3", "evil.example.org", "192.0.2.2.nip.io"):
            problem(client.get("/v1/jobs", headers={"Host": host, **make_key()[1]}), 400, "bad-request")

    def test_a_key_that_is_shown_must_be_good_also_where_none_is_needed(self, client, spec, make_key):
        _, reader = make_key(Scope.READ)
        problem(client.post("/v1/jobs", json=spec, headers=reader), 403, "out-of-scope")
        wrong = {"Authorization": "Bearer trainyard_" + "a" * 43}
        problem(client.get("/v1/jobs", headers=wrong), 401, "unauthorized")

    @pytest.mark.parametrize("header", ["Bearer eyJhbGciOiJub25lIn0.e30.", "Basic dTpw"])
    def test_credentials_of_a_proxy_are_not_ours_to_judge(self, client, header):
        assert client.get("/v1/jobs", headers={"Authorization": header}).status_code == 200


class TestBrowsers:
    """A web frontend of a named origin, with keys required."""

    origin = "https://app.example.org"

    @pytest.fixture
    def client(self, make_app, as_client):
        return as_client(make_app(require_keys=True, cors_origins=(self.origin,)))

    def test_a_preflight_needs_no_key_and_allows_the_header(self, client):
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        answer = client.options("/v1/jobs", headers={"Origin": self.origin, **asked})
        assert answer.status_code == 200
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()

    def test_it_can_read_that_its_key_is_refused(self, client):
        answer = problem(client.get("/v1/jobs", headers={"Origin": self.origin}), 401, "unauthorized")
        assert answer.headers["access-control-allow-origin"] == self.origin

    def test_a_foreign_page_is_refused_with_the_best_of_keys(self, client, spec, make_key):
        _, header = make_key()
        foreign = {**header, "Origin": "https://evil.example.org"}
        problem(client.post("/v1/jobs", json=spec, headers=foreign), 403, "forbidden")


def test_no_key_is_written_down(make_app, as_client, make_key, spec, capsys, monkeypatch):
    client = as_client(make_app(require_keys=True, log_format="json"))
    key_id, header = make_key()
    key = header["Authorization"].removeprefix("Bearer ")
    wrong = "trainyard_" + "w" * 43
    told = [client.post("/v1/jobs", json=spec, headers=header)]
    job = told[0].json()["id"]
    told.append(client.get("/v1/jobs", headers={"Authorization": f"Bearer {wrong}"}))
    told.append(client.post("/v1/jobs", json={"x": 1}, headers=header))
    told.append(client.get("/v1/jobs", params={"limit": "x"}, headers=header))
    told.append(client.get(f"/v1/jobs/{job}/events", headers=header))
    monkeypatch.setattr("app.routes.jobs.listing.find_jobs", lambda *_: 1 / 0)
    told.append(client.get("/v1/jobs", headers=header))
    assert [answer.status_code for answer in told] == [201, 401, 422, 422, 200, 500]
    logged = capsys.readouterr().err
    assert "ZeroDivisionError" in logged
    for secret in (key, key.removeprefix("trainyard_"), wrong):
        assert secret not in logged
        assert all(secret not in answer.text + str(answer.headers) for answer in told)
    lines = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
    assert [line.get("key") for line in lines if line["event"] == "request"] == [key_id, None, *[key_id] * 4]


class TestWhileItGoesOn:
    """An answer that is still being given when its key is revoked."""

    @pytest.fixture(autouse=True)
    def _look_at_once(self, monkeypatch):
        monkeypatch.setattr(edge, "LOOK_AGAIN_S", 0.0)

    def test_a_stream_ends_and_tells_nothing_more(self, database, app_on_a_port, make_key, service):
        key_id, header = make_key()
        job = service.submit().id
        accept = {"Accept": "text/event-stream"}
        with (
            httpx.Client(base_url=app_on_a_port, timeout=30, trust_env=False) as client,
            client.stream("GET", f"/v1/jobs/{job}/events", headers=header | accept) as answer,
        ):
            lines = answer.iter_lines()
            assert next(line for line in lines if line.startswith("event")) == "event: created"
            with database.write() as session:
                keys.revoke(session, key_id)
            service.cancel(job)
            assert not [line for line in lines if line.startswith("event")]

    def test_a_long_poll_is_refused(self, database, app_on_a_port, make_key, service):
        key_id, header = make_key()
        job = service.submit().id
        with httpx.Client(base_url=app_on_a_port, timeout=30, trust_env=False) as client:
            tag = client.get(f"/v1/jobs/{job}", headers=header).headers["etag"]
            asked = {"If-None-Match": tag, "Prefer": "wait=20", **header}
            answers = []
            poll = threading.Thread(target=lambda: answers.append(client.get(f"/v1/jobs/{job}", headers=asked)))
            poll.start()
            while "trainyard_waiting_clients 1.0" not in client.get("/metrics", headers=header).text:
                time.sleep(0.05)
            with database.write() as session:
                keys.revoke(session, key_id)
            service.cancel(job)
            poll.join(30)
        problem(answers[0], 401, "unauthorized")

    @pytest.fixture
    def app_on_a_port(self, make_app):
        """A real server in a thread, where keys are required: its URL."""
        import socket

        import uvicorn

        listener = socket.create_server(("127.0.0.1", 0))
        app = make_app(require_keys=True)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        app.state.changes.close()
        server.should_exit = True
        thread.join(20)
        listener.close()


def test_the_door_knows_what_is_loopback():
    for address in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "/run/api.sock"):
        assert not edge.is_from_elsewhere({"server": (address, 1)})
    for address in ("0.0.0.0", "192.0.2.2", "10.0.0.1", "fd00::2", "::ffff:192.0.2.2", "169.254.0.1"):
        assert edge.is_from_elsewhere({"server": (address, 1)})
    assert not edge.is_from_elsewhere({"server": None})
