"""`trainyard api` and `trainyard worker`: the parts of `serve`, alone, for deployments of several machines."""

import os
import socket
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from app.cli import exposure, listening
from app.cli.exits import CommandFailed

HostOption = Annotated[str, typer.Option(help="Address to listen on; one that others can reach needs an API key.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]


def api(
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    upgrade: Annotated[bool, typer.Option(help="Bring the database's tables up to date first.")] = False,
    descriptor: Annotated[int | None, typer.Option("--fd", hidden=True)] = None,
) -> None:
    """Run the HTTP service alone. Workers and the command line find it by HOME/run/api.json."""
    from app.cli import http_server

    with _listener(host, port, upgrade) if descriptor is None else socket.socket(fileno=descriptor) as listener:
        if upgrade:
            http_server.upgrade_database()
        http_server.run(listener)


def _listener(host: str, port: int, upgrade: bool) -> socket.socket:
    """Our own socket. (One that `serve` hands down was guarded by it.)"""
    exposure.require_guards(host, upgrade)
    return listening.listen(host, port)


def worker() -> None:
    """Run a worker for the GPUs (or CPU slots) of this machine."""
    require_worker()
    os.execv(sys.executable, worker_command())


def worker_command() -> tuple[str, ...]:
    """Celery with one thread of its own: a wake-up only asks for work and starts supervisors, in milliseconds."""
    return (
        *(sys.executable, "-m", "celery", "-A", "worker.celery_app", "worker"),
        *("--pool", "solo", "--queues", "trainyard", "--loglevel", "INFO"),
        # Nothing of this is used, and each is traffic on the broker.
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    )


def require_worker() -> None:
    """Raises `CommandFailed` where what a worker needs is not installed."""
    missing = [name for name in ("torch", "torchvision", "timm", "cv2") if find_spec(name) is None]
    if missing:
        raise CommandFailed(
            f"this environment has no {missing[0]}, which a worker needs: pip install 'trainyard[worker]'"
            " (or run `trainyard api` here and the worker elsewhere)."
        )
