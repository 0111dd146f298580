"""What a database's refusal means to those who run the service: a full disk, missing tables, a wait, or no answer."""

import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError

from app.errors import ServiceUnavailable, StorageFull, TablesMissing

_FULL = {"53100"}  # SQLSTATE disk_full
_TABLES = {"42P01", "42703"}  # undefined_table, undefined_column: our SQL names only what the migrations make
_GAVE_WAY = {"40P01", "40001"}  # deadlock, serialization failure: one of several transactions was undone for the others
_TOO_LONG = {"55P03", "57014"}  # a lock that was not given in time, a statement that was cancelled
_PRIMARY = 0xFF
"""SQLite's extended codes carry the primary one in their low byte."""


def trouble(error: DBAPIError) -> ServiceUnavailable | None:
    """The service's own word for this error; None when it is a mistake in our SQL or data."""
    code = _code(error)
    if code in _FULL | {sqlite3.SQLITE_FULL}:
        return StorageFull()
    if code in _TABLES or _names_no_table(error):
        return TablesMissing()
    if code == sqlite3.SQLITE_IOERR:
        return StorageFull("The file of the database cannot be read or written: see that its disk works and has room.")
    if error.connection_invalidated:
        return ServiceUnavailable("The connection to the database broke. Ask again.")
    if isinstance(error, OperationalError):
        return ServiceUnavailable(_why(code))
    return None


def _why(code: str | int | None) -> str:
    if code in _GAVE_WAY:
        return "Another change was in the way of this one. Nothing was changed: ask again."
    if code in _TOO_LONG:
        return "The database took too long over this. Nothing was changed: ask again."
    return "The database does not answer. Nothing was changed: ask again."


def _code(error: DBAPIError) -> str | int | None:
    """PostgreSQL's SQLSTATE, or SQLite's primary result code."""
    if isinstance(error.orig, sqlite3.Error):
        code: int | None = getattr(error.orig, "sqlite_errorcode", None)
        return None if code is None else code & _PRIMARY
    return getattr(error.orig, "sqlstate", None)


def _names_no_table(error: DBAPIError) -> bool:
    """SQLite has no code of its own for this."""
    return isinstance(error.orig, sqlite3.OperationalError) and str(error.orig).startswith(
        ("no such table", "no such column")
    )
