"""uvicorn that says where it listens: HOME/run/api.json is there exactly while requests are answered."""

import gc
import json
import os
import resource
import socket
from pathlib import Path

import uvicorn

from app.cli import listening
from app.cli.exits import CommandFailed
from app.edge.protocol import Protocol
from app.main import create_app
from app.settings import Settings, SettingsError, load

GRACEFUL_S = 1  # an open event stream must not hold the end of the process


def run(listener: socket.socket) -> None:
    """Serve on an open socket until SIGTERM or Ctrl-C. Raises `CommandFailed` for settings that cannot be meant."""
    settings = loaded_settings()
    if not listening.is_loopback(listener.getsockname()[0]):
        settings = settings.model_copy(update={"require_keys": True})
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=Protocol,
        log_config=None,  # create_app sets logging up
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a header must not make a client look nearer than it is
        timeout_graceful_shutdown=GRACEFUL_S,
    )
    allow_many_connections()
    look_for_garbage_seldom()
    run_dir = settings.home / "run"
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    AddressedServer(config, run_dir / "api.json", listening.url_of(listener)).run(sockets=[listener])


def allow_many_connections() -> None:
    """As many open files as this user may have: the usual first limit of 1,024 ends at 1,000 event streams."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def look_for_garbage_seldom() -> None:
    """Spare the collector what lives as long as the process, and most of its looks: a report is thousands of objects.

    References free nearly everything at once. With Python's own thresholds the search for cycles took a tenth to a
    third of the CPU time of a large report.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def loaded_settings() -> Settings:
    """The settings of the environment. Raises `CommandFailed` when they cannot be meant."""
    try:
        return load()
    except SettingsError as error:
        raise CommandFailed(str(error)) from error


def upgrade_database() -> None:
    """Bring the tables to what this code expects; nothing happens when they are there."""
    from app.store import migrate

    migrate.upgrade(loaded_settings().database)


class AddressedServer(uvicorn.Server):
    """Leaves `{"url", "pid"}` in a file when it listens, and takes it away before it stops."""

    def __init__(self, config: uvicorn.Config, path: Path, url: str) -> None:
        super().__init__(config)
        self._path = path
        self._text = json.dumps({"url": url, "pid": os.getpid()})

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; then the address is there, whole or not at all."""
        await super().startup(sockets)
        if self.started:
            draft = self._path.with_name(f"api.json.{os.getpid()}")
            draft.write_text(self._text)
            draft.replace(self._path)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's. An address that is no longer ours stays."""
        if self._path.exists() and self._path.read_text() == self._text:
            self._path.unlink()
        await super().shutdown(sockets)
