"""Bytes over a real socket to the real server: whatever they are, the answer is one that a client can read."""

import gzip
import json
import re
import socket

import pytest

from app.edge.protocol import Protocol
from tests.support.serving import served

# No database takes part in this: one is enough.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HOST = b"Host: localhost\r\n"


@pytest.fixture
def server(serve, settings, tmp_path):
    """Sends pieces over a new connection and answers all that came back; the server has stored nothing and lives."""
    with serve() as (client, process):
        yield lambda *pieces: talk(client.base_url.port, *pieces)
        assert process.poll() is None
        assert client.get("/v1/jobs").json()["items"] == []
        log = (tmp_path / "server.log").read_text()
        assert "Traceback" not in log
        assert '"status": 500' not in log


def talk(port, *pieces):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR) if not pieces[-1] else None
        except OSError:  # it had enough of us and closed
            pass
        return received(connection)


def received(connection):
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:  # what it does to one that goes on sending; what it said before came through
        pass
    return found


def get(path=b"/v1/jobs", headers=HOST, method=b"GET"):
    return method + b" " + path + b" HTTP/1.1\r\nConnection: close\r\n" + headers + b"\r\n"


def post(headers, body=b"", path=b"/v1/jobs"):
    return get(path, HOST + b"Content-Type: application/json\r\n" + headers, b"POST") + body


def problem(answer):
    """The status; everything else about the answer is checked here."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert b"content-type: application/problem+json" in head.lower(), head
    assert json.loads(body)["status"] == status
    return status


CHUNKED = b"Transfer-Encoding: chunked\r\n"
NOT_HTTP = {
    "negative length": post(b"Content-Length: -1\r\n", b"{}"),
    "two lengths": post(b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{} "),
    "length and chunks": post(b"Content-Length: 2\r\n" + CHUNKED, b"2\r\n{}\r\n0\r\n\r\n"),
    "unknown coding": post(b"Transfer-Encoding: gzip\r\n", b"xx"),
    "chunk without size": post(CHUNKED, b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunk of negative size": post(CHUNKED, b"-1\r\n{}\r\n0\r\n\r\n"),
    "chunk beyond 64 bits": post(CHUNKED, b"f" * 18 + b"\r\n{}\r\n0\r\n\r\n"),
    "length shorter than the body": post(b"Content-Length: 2\r\n", b'{"dataset": 1}\r\n\r\n'),
    "NUL in the path": get(b"/v1/jobs/\x00"),
    "bytes in the path": get(b"/v1/jobs/\xff\xfe"),
    "NUL in a header": get(headers=HOST + b"X-Request-Id: a\x00b\r\n"),
    "CR in a header": get(headers=HOST + b"X-A: a\rb\r\n"),
    "folded header": get(headers=HOST + b"X-A: a\r\n b\r\n"),
    "space before the colon": get(headers=HOST + b"X-A : a\r\n"),
    "no such method": get(method=b"FOO"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "noise": b"\0\1\2\3\r\n\r\n",
    "no host": get(headers=b""),
    "two hosts": get(headers=HOST + HOST),
    "a foreign host": get(headers=b"Host: evil.example\r\n"),
    "half a bracket": get(headers=b"Host: [::1\r\n"),
    "an address of another host": get(b"http://evil.example/v1/jobs"),
    "an address that is none": get(b"http://[::1/healthz"),
    "connect": get(b"localhost:80", method=b"CONNECT"),
}


def test_what_is_no_http_is_400_as_a_problem(server):
    assert {name: problem(server(sent)) for name, sent in NOT_HTTP.items()} == dict.fromkeys(NOT_HTTP, 400)


@pytest.mark.parametrize(
    "head",
    [
        get(headers=HOST + b"".join(b"X-%d: y\r\n" % number for number in range(20_000))),
        get(headers=HOST + b"X-A: " + b"y" * 5_000_000),
        get(b"/v1/jobs?name=" + b"x" * 1_000_000),
        b"GET /" + b"x" * 70_000,
    ],
    ids=["many headers", "a header without end", "a long address", "an address without end"],
)
def test_a_head_beyond_64_kib_is_431(server, head):
    answer = server(head)
    assert answer == b"" or problem(answer) == 431  # a reset can overtake the answer, when we were still sending


@pytest.mark.parametrize("declared", [b"Content-Length: 10000000\r\n", CHUNKED], ids=["declared", "endless"])
def test_a_body_beyond_the_limit_is_413(server, declared):
    chunks = (b"10000\r\n" + b"x" * 65_536 + b"\r\n" for _ in range(400))
    pieces = chunks if declared == CHUNKED else (b"x" * 65_536 for _ in range(160))
    answer = server(post(declared), *pieces)
    assert answer == b"" or problem(answer) == 413


def test_a_compressed_body_is_415_and_never_unpacked(server):
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    for coding in (b"gzip", b"br", b"gzip, gzip", b"x"):
        answer = server(post(b"Content-Encoding: %s\r\nContent-Length: %d\r\n" % (coding, len(bomb)), bomb))
        assert problem(answer) == 415


def test_a_body_that_breaks_off_is_no_error_of_the_service(server):
    assert server(post(b"Content-Length: 100\r\n", b'{"dataset"'), b"") == b""
    assert server(post(CHUNKED, b"ff\r\n{}\r\n"), b"") == b""


def test_trailers_are_bounded_and_never_headers(server):
    assert problem(server(post(CHUNKED, b"2\r\n{}\r\n0\r\nHost: evil\r\n\r\n"))) == 422
    endless = server(post(CHUNKED, b"2\r\n{}\r\n0\r\n" + b"X-Evil: 1\r\n" * 20_000))
    assert endless == b"" or problem(endless) in (422, 431)


def test_pipelined_requests_are_answered_in_order(server):
    kept = get(b"/healthz").replace(b"Connection: close\r\n", b"")
    answer = server(kept + kept + get(b"/nowhere"))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"404"]


def test_forms_that_http_allows_are_answered(server):
    for sent, status in (
        (get(b"http://localhost/healthz"), b"200"),
        (get(b"/v1/events", HOST + b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"), b"200"),
        (get(b"*", method=b"OPTIONS"), b"404"),
        (get(method=b"TRACE"), b"405"),
        (get(b"/v1/jobs/job_1", HOST + b"X-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n", b"POST"), b"405"),
        (get(b"/v1/jobs/job_1?_method=DELETE", HOST + b"Content-Length: 0\r\n", b"POST"), b"405"),
    ):
        assert server(sent).split()[1] == status, sent


@pytest.fixture
def hasty(app):
    """A real server that waits for a tenth of a second only; yields its port."""

    class Hasty(Protocol):
        head_s = body_pause_s = 0.1

    with served(app, Hasty) as port:
        yield port


def test_who_sends_nothing_or_half_a_request_is_408_and_closed(hasty):
    for sent in (b"", b"GET /v1/jobs HTT", post(b"Content-Length: 10\r\n", b"{"), post(CHUNKED, b"ff\r\n{}")):
        with socket.create_connection(("127.0.0.1", hasty), timeout=60) as connection:
            connection.sendall(sent)
            assert problem(received(connection)) == 408


def test_a_long_answer_is_not_cut_by_these_clocks(hasty, submit):
    job = submit()
    wait = b'If-None-Match: "%d"\r\nPrefer: wait=1\r\n' % job["version"]
    with socket.create_connection(("127.0.0.1", hasty), timeout=60) as connection:
        connection.sendall(get(b"/v1/jobs/" + job["id"].encode(), HOST + wait))
        assert received(connection).split()[1] == b"304"
