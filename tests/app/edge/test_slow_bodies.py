"""Bodies that a service takes slowly, or not at all: whose fault a pause is, and what the client is told."""

import asyncio
import re
import socket

import pytest

from app.edge.protocol import Protocol
from tests.support.serving import served

HEAD = b"Host: localhost\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture
def slow_reader():
    """A server where a body may pause for 2 s; its app begins to take it after 6 s, or never. Yields its port."""

    class Hasty(Protocol):
        body_pause_s = 2.0

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        if scope["path"] == "/slow":
            await asyncio.sleep(6)
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    with served(app, Hasty, lifespan="off") as port:
        yield port


def test_a_service_that_is_slow_to_take_a_body_does_not_blame_the_client(slow_reader):
    body = bytes(1_000_000)
    with socket.create_connection(("127.0.0.1", slow_reader), timeout=60) as connection:
        connection.sendall(b"POST /slow HTTP/1.1\r\nConnection: close\r\n" + HEAD + body)
        assert statuses(connection) == [b"200"]


def test_a_body_that_was_answered_before_it_came_gets_no_second_answer(slow_reader):
    with socket.create_connection(("127.0.0.1", slow_reader), timeout=60) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n" + HEAD + b"x")
        assert statuses(connection) == [b"200"]


def statuses(connection):
    """Of all that comes back before the server closes."""
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return re.findall(rb"HTTP/1.1 (\d+)", found)
