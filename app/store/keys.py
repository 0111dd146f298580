"""API keys. Only their hashes are here: a copy of the database opens nothing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.store.key_tables import api_keys
from app.store.types import now

_IS_LIVE = and_(api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now()))
_SHOWN = (*api_keys.c, _IS_LIVE.label("is_live"), (now() - api_keys.c.last_used_at).label("unused_s"))


def create(session: Session, key_id: str, expires_in_s: float | None, **values: Any) -> None:
    """Store a key that is live from now on."""
    expires_at = None if expires_in_s is None else now() + expires_in_s
    session.execute(insert(api_keys).values(id=key_id, created_at=now(), expires_at=expires_at, **values))


def find(session: Session, key_id: str) -> Row[Any] | None:
    """One key with `is_live`."""
    return _one(session, api_keys.c.id == key_id)


def live(session: Session, key_hash: str) -> Row[Any] | None:
    """The key of this hash, unless it was revoked or has expired; `unused_s` is None when it was never used."""
    return _one(session, api_keys.c.key_hash == key_hash, _IS_LIVE)


def is_any_live(session: Session) -> bool:
    """Whether anybody could show a key that is good."""
    return bool(session.execute(select(exists().where(_IS_LIVE))).scalar())


def everyone(session: Session) -> Sequence[Row[Any]]:
    """All keys, oldest first."""
    return session.execute(select(*_SHOWN).order_by(api_keys.c.created_at, api_keys.c.id)).all()


def revoke(session: Session, key_id: str) -> None:
    """End a key; one that was revoked before keeps its time."""
    revoked_at = func.coalesce(api_keys.c.revoked_at, now())
    session.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=revoked_at))


def note_use(session: Session, key_id: str, every_s: float) -> None:
    """The key was used, unless that was noted less than `every_s` ago."""
    is_due = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < now() - every_s)
    session.execute(update(api_keys).where(api_keys.c.id == key_id, is_due).values(last_used_at=now()))


def _one(session: Session, *conditions: ColumnElement[bool]) -> Row[Any] | None:
    row: Row[Any] | None = session.execute(select(*_SHOWN).where(*conditions)).one_or_none()
    return row
