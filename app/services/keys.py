"""API keys: made, listed, revoked, and asked for at the door.

A key is `trainyard_` and 32 random bytes. It is shown once; what is kept is its SHA-256, which is enough to know it and
of no use to a thief. Nothing is cached: a revoked key opens nothing from the next request on, on every replica.
"""

import secrets
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.keys import ApiKey, NewKey, Scope
from app.errors import OutOfScope, ServiceUnavailable, Unauthorized
from app.identifiers import digest, new_id, new_token
from app.services.job_view import existing
from app.store import keys
from app.store.session import Database
from app.store.types import moment, moment_or_none

PREFIX = "trainyard_"
"""Tells people, and programs that search for leaked secrets, what they have found."""

DAY_S = 86_400.0
USE_NOTED_EVERY_S = 60.0
"""`last_used_at` is for finding keys that nobody uses: it may be a minute old, and costs a write a minute."""


def create(session: Session, name: str, scopes: frozenset[Scope], expires_days: float | None) -> NewKey:
    """Make a key that is live at once."""
    key, key_id = PREFIX + new_token(), new_id("key")
    expires_in_s = None if expires_days is None else expires_days * DAY_S
    keys.create(session, key_id, expires_in_s, name=name, key_hash=digest(key), scopes=" ".join(sorted(scopes)))
    return NewKey(key=key, **_shown(existing(keys.find(session, key_id), "key")).model_dump())


def list_keys(session: Session) -> list[ApiKey]:
    """All keys that were ever made, oldest first."""
    return [_shown(row) for row in keys.everyone(session)]


def revoke(session: Session, key_id: str) -> ApiKey:
    """End a key for ever. Doing it again changes nothing. Raises `NotFound`."""
    keys.revoke(session, key_id)
    return _shown(existing(keys.find(session, key_id), "key"))


def is_any_live(session: Session) -> bool:
    """Whether anybody could show a key that is good."""
    return keys.is_any_live(session)


class Door:
    """Asks the database about each key that is shown. Thread-safe; one instance a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._noted: dict[str, float] = {}

    def admit(self, key: str, needs: Scope) -> str:
        """The id of a key that is good for this. Raises `Unauthorized` and `OutOfScope`."""
        key_hash = digest(key)
        with self._database.read() as session:
            row = keys.live(session, key_hash)
        if row is None or not secrets.compare_digest(row.key_hash, key_hash):
            raise Unauthorized("This API key is not known here, has expired or was revoked.")
        if needs not in row.scopes.split():
            raise OutOfScope(f"This key has the scope '{row.scopes}', and this request needs '{needs}'.")
        if row.unused_s is None or row.unused_s > USE_NOTED_EVERY_S:
            self._note_use(row.id)
        return str(row.id)

    def _note_use(self, key_id: str) -> None:
        """Once a minute at most, also while the database cannot be written to: reading must not fail for it."""
        with self._lock:
            if monotonic() - self._noted.get(key_id, -USE_NOTED_EVERY_S) < USE_NOTED_EVERY_S:
                return
            self._noted[key_id] = monotonic()
        with suppress(ServiceUnavailable), self._database.write() as session:
            keys.note_use(session, key_id, USE_NOTED_EVERY_S)


def _shown(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        scopes=[Scope(scope) for scope in row.scopes.split()],
        state="revoked" if row.revoked_at is not None else "live" if row.is_live else "expired",
        created_at=moment(row.created_at),
        expires_at=moment_or_none(row.expires_at),
        revoked_at=moment_or_none(row.revoked_at),
        last_used_at=moment_or_none(row.last_used_at),
    )
