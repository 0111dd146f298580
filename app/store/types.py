"""Columns and expressions that mean the same on SQLite and PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import BigInteger, Dialect, Double, Integer, Text, TypeDecorator
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

Id = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Compared byte by byte on both, so that a cursor over ids means the same."""

Number = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column that is called INTEGER."""


class Time(TypeDecorator[float]):
    """Seconds since 1970 in UTC, as a double: exact to the microsecond, and the same arithmetic on both databases."""

    impl = Double
    cache_ok = True


class Json(TypeDecorator[Any]):
    """A JSON document as text. Only documents that nobody searches in are stored so."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(value)


class now(FunctionElement[float]):  # noqa: N801  (reads as the SQL function that it is)
    """The database's clock, in seconds since 1970. One value a statement, so that an index can be searched with it."""

    type = Time()
    inherit_cache = True
    name = "now"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    # julianday is exact to the millisecond; unixepoch('subsec') needs SQLite 3.42
    # rounded as integers: then a time is the double nearest to what users are shown, and equals it when it comes back
    return "(cast(round((julianday('now') - 2440587.5) * 86400000.0) as integer) / 1000.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    # not now(): that is the transaction's start, which may lie before a long wait for a lock
    return "extract(epoch from statement_timestamp())::double precision"


class transaction_number(FunctionElement[int]):  # noqa: N801
    """Which transaction writes this row. SQLite commits in the order of its one writer, so 0 does for all."""

    type = BigInteger()
    inherit_cache = True
    name = "transaction_number"


@compiles(transaction_number, "sqlite")
def _transaction_sqlite(element: transaction_number, compiler: SQLCompiler, **kw: Any) -> str:
    return "0"


@compiles(transaction_number, "postgresql")
def _transaction_postgresql(element: transaction_number, compiler: SQLCompiler, **kw: Any) -> str:
    return "pg_current_xact_id()::text::bigint"


class oldest_running_transaction(FunctionElement[int]):  # noqa: N801
    """Rows of transactions below this number can no longer be overtaken by an earlier one that commits later."""

    type = BigInteger()
    inherit_cache = True
    name = "oldest_running_transaction"


@compiles(oldest_running_transaction, "sqlite")
def _oldest_sqlite(element: oldest_running_transaction, compiler: SQLCompiler, **kw: Any) -> str:
    return "1"


@compiles(oldest_running_transaction, "postgresql")
def _oldest_postgresql(element: oldest_running_transaction, compiler: SQLCompiler, **kw: Any) -> str:
    return "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


def moment(seconds: float) -> datetime:
    """A stored time as users see it."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    """A stored time as users see it, if there is one."""
    return None if seconds is None else moment(seconds)
