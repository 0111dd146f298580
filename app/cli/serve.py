"""`trainyard serve`: everything on one machine, as a supervisor of three children: broker, API and worker.

A `kill -9` of it loses nothing: the children and the running attempts live on, and the next `serve` of the same home
replaces the children. Attempts are never touched then: they find the new API by HOME/run/api.json.
"""

import fcntl
import http.client
import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import IO, Annotated

import typer

from app.cli import broker, exposure, listening
from app.cli.api import HostOption, PortOption, require_worker, worker_command
from app.cli.exits import CommandFailed
from app.cli.processes import Child, Command, PidFile
from app.cli.yard import Kept, Ready, Yard, end_leftover, end_strange_broker, port_of

TRAINYARD = (sys.executable, "-m", "app.cli")
DRAIN_S = 10  # how long running jobs may save under Ctrl-C


def serve(
    home: Annotated[
        Path | None, typer.Option(help="Where everything lies. Default: TRAINYARD_HOME, else ~/.trainyard.")
    ] = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
) -> None:
    """Run everything on this machine: the service, its broker, and one worker. Ctrl-C stops all within 15 s."""
    if home:
        os.environ["TRAINYARD_HOME"] = str(home.expanduser().absolute())
    require_worker()
    settings_home = prepared_home()
    exposure.require_guards(host, upgrade=True)
    with locked(settings_home / "run" / "serve.lock", settings_home):
        Serving(settings_home).run(host, port)


def prepared_home() -> Path:
    """The home with its folders, readable by its user alone. Raises `CommandFailed` when it cannot be made."""
    from app.settings import SettingsError, load, worker_token

    try:
        settings = load()
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    home = settings.home
    try:
        for folder in (home, home / "run", home / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        worker_token(settings)
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"the home {error.filename or home} cannot be made: {error.strerror}.") from error
    return home


class locked:  # noqa: N801  (a context manager, used like a function)
    """Hold a file's lock; the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, path: Path, home: Path) -> None:
        self._path = path
        self._home = home
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandFailed(self._taken()) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()

    def _taken(self) -> str:
        pid = self._path.read_text().strip() or "?"
        return f"another `trainyard serve` (pid {pid}) runs on {self._home}: stop it, or name another --home."


class Serving:
    """One run of `serve`: take over the home, start the children, restart those that die, stop them in order."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._run_dir = home / "run"
        self._signals = 0

    def run(self, host: str, port: int) -> None:
        """Until the first SIGINT or SIGTERM. Raises `CommandFailed` when a child cannot be started."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._count)
        with self._listen(host, port) as listener:
            PidFile(self._run_dir / "serve.pid").write(os.getpid())
            for name in ("worker", "api", "broker"):
                if end_leftover(self._run_dir, name):
                    tell(f"replaced the {name} that an earlier serve left running")
            url = listening.url_of(listener)
            yard = Yard(self._children(url, listener.fileno()), self._run_dir, lambda: self._signals, tell)
            try:
                yard.start()
                if not self._signals:
                    self._greet(url, None if listening.is_loopback(host) else host)
                yard.keep_running()
            finally:
                self._stop(yard)

    def _listen(self, host: str, port: int) -> socket.socket:
        """The API's socket is opened here and inherited, so that a restart of the API refuses no connection."""
        try:
            return listening.listen(host, port)
        except listening.PortTaken:
            if port_of(self._run_dir) != port or not end_leftover(self._run_dir, "api"):
                raise
            tell("replaced the api that an earlier serve left running")
            return listening.listen(host, port)

    def _children(self, url: str, descriptor: int) -> list[Kept]:
        """In the order of their start. A broker of one's own (TRAINYARD_BROKER_URL) takes the embedded one's place."""
        from app.settings import load, worker_token

        environment = self._environment()
        kept = []
        if "TRAINYARD_BROKER_URL" not in environment:
            place = broker.place(self._run_dir)
            end_strange_broker(place)
            environment["TRAINYARD_BROKER_URL"] = place.url
            kept.append(self._keep(broker.command(place, self._run_dir, environment), place.answers))
        api_arguments = (*TRAINYARD, "api", "--upgrade", "--fd", str(descriptor))
        api = Command("api", api_arguments, environment, (descriptor,))
        kept.append(self._keep(api, lambda: is_ready(url)))
        token = worker_token(load())
        kept.append(self._keep(Command("worker", worker_command(), environment), lambda: has_worker(url, token)))
        return kept

    def _keep(self, command: Command, ready: Ready) -> Kept:
        return Kept(Child(command, self._run_dir, self._home / "logs"), ready, tell)

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if value or not name.startswith("TRAINYARD_")}
        environment.pop("TRAINYARD_URL", None)  # the worker's service is this one; it is found by the home
        environment.pop("TRAINYARD_API_KEY", None)  # for clients
        own = {"TRAINYARD_HOME": str(self._home), "TRAINYARD_DRAIN_S": str(DRAIN_S), "PYTHONUNBUFFERED": "1"}
        return environment | own

    def _stop(self, yard: Yard) -> None:
        tell("stopping: running jobs save a checkpoint and go back to the queue (Ctrl-C again: at once)")
        yard.stop(DRAIN_S)
        PidFile(self._run_dir / "serve.pid").remove()
        tell("stopped")

    def _count(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _greet(self, url: str, open_host: str | None) -> None:
        tell(f"listening on {url} (API description: {url}/openapi.json)")
        if open_host:
            tell(f"other machines reach it at {open_host}; every request needs an API key")
        tell(f"home: {self._home}, logs: {self._home / 'logs'}")
        tell("Ctrl-C stops everything; running jobs save a checkpoint first and go on at the next start")


def tell(message: str) -> None:
    """One line on stdout, at once."""
    print(f"trainyard: {message}", flush=True)


def is_ready(url: str) -> bool:
    """Whether the API there answers that it can work; a broker that is away does not count against it."""
    return _answer(url, "/readyz") is not None


def has_worker(url: str, token: str) -> bool:
    """Whether the API there knows a living worker. Asked at the workers' door, which needs no API key."""
    answer = _answer(url, "/internal/v1/workers", {"Authorization": f"Bearer {token}"})
    return answer is not None and any(worker["state"] == "alive" for worker in json.loads(answer)["items"])


def _answer(url: str, path: str, headers: dict[str, str] | None = None) -> bytes | None:
    """The body of a 200; None for everything else. Light and without a proxy, unlike the command line's client."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=2.0)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.read() if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
