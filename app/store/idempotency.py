"""Idempotency keys: the key's row decides which of several equal requests makes the job."""

from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.orm import Session

from app.store.tables import idempotency_keys
from app.store.types import now
from app.store.upserts import insert_if_absent


def take(session: Session, key: str, body_sha256: str, job_id: str) -> bool:
    """Claim the key for a job that this transaction makes; False when it is taken. Waits while another takes it."""
    statement = insert_if_absent(session, idempotency_keys, ["key"])
    values = {"key": key, "body_sha256": body_sha256, "job_id": job_id}
    statement = statement.values(**values, created_at=now()).returning(idempotency_keys.c.key)
    return session.execute(statement).one_or_none() is not None


def find(session: Session, key: str) -> Row[Any] | None:
    """Who took the key. Its job is not deleted before the transaction ends; None when it was, just now."""
    query = select(idempotency_keys).where(idempotency_keys.c.key == key)
    return session.execute(query.with_for_update(read=True)).one_or_none()


def purge(session: Session, after_s: float) -> None:
    """Forget keys that are older."""
    session.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < now() - after_s))
