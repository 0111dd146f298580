"""INSERT ... ON CONFLICT, which both databases have and SQLAlchemy spells twice."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session


def upsert(session: Session, table: Table, key: Sequence[str]) -> Any:
    """An INSERT that replaces all other columns of a row with the same key. Give it `.values(...)` or rows."""
    statement = insert_into(session, table)
    others = {column.name: statement.excluded[column.name] for column in table.c if column.name not in key}
    return statement.on_conflict_do_update(index_elements=list(key), set_=others)


def insert_if_absent(session: Session, table: Table, key: Sequence[str]) -> Any:
    """An INSERT that leaves a row with the same key as it is, and then returns none."""
    return insert_into(session, table).on_conflict_do_nothing(index_elements=list(key))


def insert_into(session: Session, table: Table) -> Any:
    """The database's own INSERT."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    return dialect.insert(table)
