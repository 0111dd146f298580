"""Where the API may listen."""

import pytest

from app.cli.exits import CommandFailed
from app.cli.listening import PortTaken, is_loopback, listen, url_of


def test_port_0_takes_a_free_one() -> None:
    with listen("127.0.0.1", 0) as one, listen("127.0.0.1", 0) as other:
        assert url_of(one) != url_of(other)
        assert url_of(one) == f"http://127.0.0.1:{one.getsockname()[1]}"


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as one:
        port = one.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} of 127.0.0.1 is taken"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1"])
def test_this_machine_is_allowed(host: str) -> None:
    listen(host, 0).close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_only_this_machine_reaches_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", "localhost.example.org", "", "127.1"])
def test_whatever_else_others_may_reach(host: str) -> None:
    assert not is_loopback(host)


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(CommandFailed, match=r"cannot listen on 203\.0\.113\.7 port 0"):
        listen("203.0.113.7", 0)


def test_programs_of_this_machine_reach_every_address_by_loopback() -> None:
    with listen("0.0.0.0", 0) as one:
        assert url_of(one) == f"http://127.0.0.1:{one.getsockname()[1]}"
