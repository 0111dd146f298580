"""The way to the database, and the only commit. One code for SQLite and PostgreSQL.

SQLite: WAL with synchronous=FULL (what was acknowledged survives a power cut), one writer at a time by BEGIN IMMEDIATE
(a deferred transaction that turns into a writer can fail at once with SQLITE_BUSY, whatever the timeout), readers never
wait. PostgreSQL: READ COMMITTED; each rule that needs more is one conditional statement, or takes the row's lock.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.contract.faults import Point, reach
from app.errors import ServiceUnavailable
from app.settings import Settings
from app.store.glances import Glances
from app.store.troubles import trouble

BUSY_TIMEOUT_S = 15
POOL_SIZE = 10
POOL_OVERFLOW = 40
"""The edge serves requests in up to 40 threads; a thread that waits for a connection is a slow answer."""

LIMITS = {
    "lock_timeout": f"{BUSY_TIMEOUT_S}s",  # as long as SQLite's writers wait for one another
    "statement_timeout": "60s",  # the longest that we run, a portion of old points, takes a second
    "idle_in_transaction_session_timeout": "30s",  # a service that is frozen, or cut off, gives back its row locks
}
"""What PostgreSQL ends by itself. `options` in the URL come behind these, so an operator's own count."""

KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
"""A server that vanished without a word is noticed in 25 s (the last in ms); the system's own defaults take hours."""

OnChange = Callable[[set[str]], None]


class Database:
    """Connections to one database. Thread-safe; one instance a process.

    `on_change` is called with the ids of the jobs that a committed transaction touched, `on_work` when one left
    something that a worker can claim. Both run after the commit, in the thread that committed, and must be quick.
    """

    def __init__(
        self,
        url: str,
        settings: Settings,
        on_change: OnChange = lambda _: None,
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        self.url = driver_url(url)
        self.settings = settings
        self.engine = make_engine(self.url, limited=True)
        self._for_writing = self.engine.execution_options(immediate=True)
        self.glances = Glances(self.url)
        self._turn = threading.Lock() if self.is_sqlite else None
        self._on_change = on_change
        self._on_work = on_work

    @property
    def is_sqlite(self) -> bool:
        """One writer at a time, in one file."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent look (SQLite: a snapshot). Nothing that is written here is kept."""
        with _answerable(), Session(self.engine) as session:
            session.info["settings"] = self.settings
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed as a whole when the block ends, or not at all when it raises."""
        with _answerable(), self._in_turn(), Session(self._for_writing, autoflush=False) as session:
            session.info["settings"] = self.settings
            yield session
            _commit(session)
        self._announce(session)

    def close(self) -> None:
        """Close all connections."""
        self.glances.close()
        self.engine.dispose()

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """SQLite's one writer, handed on within this process at once: its own wait for the lock sleeps up to 100 ms."""
        if self._turn is None:
            yield
        elif self._turn.acquire(timeout=BUSY_TIMEOUT_S):
            try:
                yield
            finally:
                self._turn.release()
        else:
            raise ServiceUnavailable("The database is busy with other changes. Nothing was changed: ask again.")

    def _announce(self, session: Session) -> None:
        jobs = session.info.get("touched", set())
        if jobs:
            self._on_change(jobs)
        if session.info.get("work"):
            reach(Point.COMMIT_BEFORE_NUDGE)
            self._on_work()
        for callback in session.info.get("after_commit", []):
            callback()


def after_commit(session: Session, callback: Callable[[], None]) -> None:
    """Run `callback` when the transaction is durable; never if it is not."""
    session.info.setdefault("after_commit", []).append(callback)


def touched(session: Session, name: str) -> None:
    """This job (or background task) changed: whoever waits for it is woken after the commit."""
    session.info.setdefault("touched", set()).add(name)


def work_waits(session: Session) -> None:
    """There is something to claim: workers are nudged after the commit."""
    session.info["work"] = True


def settings_of(session: Session) -> Settings:
    """The settings of the service whose session this is."""
    settings: Settings = session.info["settings"]
    return settings


def driver_url(url: str) -> str:
    """The URL with the driver named that we ship: psycopg 3."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1) if url.startswith("postgresql://") else url


def make_engine(url: str, *, limited: bool = False) -> Engine:
    """An engine with our rules for transactions. `limited`: with `LIMITS`, which a migration may well exceed."""
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    limits = {"options": _options(url)} if limited else {}
    return create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=BUSY_TIMEOUT_S,
        pool_pre_ping=True,  # a restarted server costs one round trip, not a failed request
        connect_args={"connect_timeout": 5, **KEEPALIVE, **limits},
    )


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=BUSY_TIMEOUT_S,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    # a cache of 4 MiB for each of up to 50 connections: 64 MiB took the service to 540 MB over a million jobs
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-4096"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _options(url: str) -> str:
    limits = [f"-c {name}={value}" for name, value in LIMITS.items()]
    return " ".join([*limits, *make_url(url).normalized_query.get("options", ())])


def _commit(session: Session) -> None:
    try:
        session.commit()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        detail = "The connection broke during the commit. See whether the change is there, then ask again."
        raise ServiceUnavailable(detail) from error


@contextmanager
def _answerable() -> Iterator[None]:
    """A database that is away, busy or full is the service's trouble, not the caller's mistake: 503, ask again."""
    try:
        yield
    except PoolTimeout as error:
        raise ServiceUnavailable("All connections to the database are in use. Ask again.") from error
    except DBAPIError as error:
        known = trouble(error)
        if known is None:
            raise
        raise known from error


def dumps(value: Any) -> str:
    """JSON as it is stored. NaN and infinities must have become strings before."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
