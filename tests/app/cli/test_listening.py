"""Where the API may listen."""

import pytest

from app.cli.exits import CommandFailed, Exit
from app.cli.listening import PortTaken, listen, url_of


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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])
def test_other_hosts_are_refused_with_the_way_out(host: str) -> None:
    with pytest.raises(CommandFailed, match="only this machine") as raised:
        listen(host, 0)
    assert raised.value.exit_code == Exit.USAGE
