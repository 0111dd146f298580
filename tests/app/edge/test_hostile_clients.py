"""Clients that dribble, leave half-way or never read: they cost little, they are dropped, and others are served."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import httpx
import psutil
import pytest

from app.cli import listening

STREAM = {"Accept": "text/event-stream"}
PROGRAM = """
from app.edge.protocol import Protocol
Protocol.head_s = Protocol.request_s = {request_s}
from app.cli import main
main()
"""
PATIENT_S = 60
"""How long a test waits for what must happen; it takes as long as the limits that a test sets."""


class Api:
    """`trainyard api` as a process, spoken to over plain sockets."""

    def __init__(self, port, process):
        self.port = port
        self.process = process
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENT_S, trust_env=False)

    def connect(self, sent=b"", receive_bytes=None):
        """A connection that has said this much."""
        connection = socket.socket()
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(PATIENT_S)
        connection.connect(("127.0.0.1", self.port))
        connection.sendall(sent)
        return connection

    def open_connections(self):
        """Of clients, as the kernel knows them."""
        found = psutil.Process(self.process.pid).net_connections("tcp")
        return sum(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == self.port for each in found)

    def waiting(self):
        """Open streams and long polls, as the service counts them."""
        lines = self.client.get("/metrics").text.splitlines()
        return next(int(float(each.split()[1])) for each in lines if each.startswith("trainyard_waiting_clients "))

    def rss_bytes(self):
        return psutil.Process(self.process.pid).memory_info().rss


def get(path, **headers):
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def until(condition, within_s=PATIENT_S):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)


@pytest.fixture
def api(settings, tmp_path, monkeypatch):
    """Starts the service with these limits."""

    @contextmanager
    def run(request_s=60.0, stalled_s=30.0):
        monkeypatch.setattr(listening, "STALLED_S", stalled_s)
        environment = os.environ | {
            "TRAINYARD_HOME": str(settings.home),
            "TRAINYARD_DATABASE_URL": settings.database_url,
            "TRAINYARD_WORKER_TOKEN": settings.worker_token,
        }
        listener = listening.listen("127.0.0.1", 0)
        program = [sys.executable, "-c", PROGRAM.format(request_s=request_s), "api", "--fd", str(listener.fileno())]
        with listener, (tmp_path / "api.log").open("wb") as log:
            process = subprocess.Popen(program, env=environment, pass_fds=[listener.fileno()], stdout=log, stderr=log)
            api = Api(listener.getsockname()[1], process)
            try:
                until(lambda: answers(api.client))
                yield api
            finally:
                api.client.close()
                process.kill()
                process.wait()

    return run


def answers(client):
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


BEGUN = (
    b"",
    b"GET /v1/jobs HT",
    b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{",
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
)


def test_requests_that_never_become_whole_are_dropped(api):
    with api(request_s=2.0) as service, ExitStack() as stack:
        for begun in BEGUN * 20:
            stack.enter_context(service.connect(begun))
        assert service.client.get("/v1/jobs").status_code == 200
        until(lambda: service.open_connections() <= 1)
        assert service.client.get("/v1/jobs").status_code == 200


def test_a_request_that_comes_slowly_but_whole_is_answered(api, spec):
    with api(request_s=30.0) as service, service.connect() as slow:
        for byte in get("/healthz", Connection="close"):
            slow.sendall(bytes([byte]))
        assert slow.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_connection_that_waits_for_its_answer_is_not_hurried(api, spec):
    with api(request_s=1.0) as service:
        job = service.client.post("/v1/jobs", json=spec)
        headers = {"If-None-Match": job.headers["etag"], "Prefer": "wait=3"}
        answer = service.client.get(job.headers["location"], headers=headers)
        assert (answer.status_code, answer.headers["preference-applied"]) == (304, "wait=3")


@pytest.mark.parametrize("path", ["/events", ""])
def test_a_client_that_closes_its_half_of_a_waiting_connection_is_forgotten(api, spec, path):
    with api() as service:
        job = service.client.post("/v1/jobs", json=spec)
        wanted = get(job.headers["location"] + path, **STREAM, **{"If-None-Match": '"1"', "Prefer": "wait=60"})
        with service.connect(wanted) as half:
            until(lambda: service.waiting() == 1)
            half.shutdown(socket.SHUT_WR)
            until(lambda: service.waiting() == 0, within_s=30)  # else it waits for a minute


def test_a_submit_whose_client_leaves_is_stored_whole_or_not_at_all(api, spec):
    with api() as service:
        body = json.dumps(spec).encode()
        head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
        for cut in (len(body), len(body) // 2):
            with service.connect(head.encode() + b"%d\r\n\r\n" % len(body) + body[:cut]) as leaves:
                leaves.shutdown(socket.SHUT_WR)
        until(lambda: service.open_connections() <= 1)
        jobs = service.client.get("/v1/jobs").json()["items"]
        assert len(jobs) <= 1
        assert all(len(service.client.get(f"/v1/jobs/{job['id']}/events").json()["items"]) == 1 for job in jobs)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux ends such connections by itself")
def test_a_client_that_never_reads_costs_little_and_is_dropped(api):
    asked = get("/openapi.json") * 300  # some 30 MB of answers
    with api(stalled_s=2.0) as service:
        size_bytes = len(service.client.get("/openapi.json").content)
        before = service.rss_bytes()
        with service.connect(receive_bytes=4096) as deaf:
            deaf.setblocking(False)
            deaf.send(asked)
            until(lambda: service.open_connections() == 2)
            until(lambda: service.open_connections() == 1)
            assert service.rss_bytes() - before < 300 * size_bytes / 3
        assert service.client.get("/healthz").status_code == 200


@pytest.mark.slow
def test_a_thousand_idle_streams_leave_room_for_others(api, spec):
    with api() as service, ExitStack() as stack:
        jobs = [service.client.post("/v1/jobs", json=spec).headers["location"] for _ in range(20)]
        for number in range(1000):
            stack.enter_context(service.connect(get(f"{jobs[number % 20]}/events", **STREAM)))
        until(lambda: service.waiting() == 1000)
        assert service.client.post("/v1/jobs", json=spec).status_code == 201
        assert service.rss_bytes() < 300_000_000
        stack.close()
        until(lambda: service.waiting() == 0)
