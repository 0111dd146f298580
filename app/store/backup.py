"""A copy of the SQLite database, taken while the service goes on writing. PostgreSQL has pg_dump."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

BUSY_TIMEOUT_S = 15


class BackupFailed(Exception):
    """There is no copy; the message says why."""


def back_up(source: Path, target: Path) -> int:
    """Copy the database as it is at one moment; answers the copy's bytes. Raises `BackupFailed`; nothing is replaced.

    One read transaction in WAL mode: no writer waits for it. The copy appears under its name when it is checked and
    durable, or not at all.
    """
    draft = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        _copy(source, draft)
        os.link(draft, target)
        _sync(target.parent)
        return target.stat().st_size
    except FileExistsError:
        raise BackupFailed(f"{target} exists already, and a backup replaces nothing.") from None
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"{source} could not be copied to {target}: {error}.") from error
    finally:
        draft.unlink(missing_ok=True)


def _copy(source: Path, draft: Path) -> None:
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)  # as private as the home; VACUUM INTO takes an empty file
    address = f"file:{quote(str(source))}?mode=rw"  # rw: a database that is not there is not made
    with closing(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
        connection.execute("VACUUM INTO ?", (str(draft),))
    with closing(sqlite3.connect(draft)) as copy:
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"the copy is damaged: {found}")
    _sync(draft)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
