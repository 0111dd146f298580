"""The hosts that take work, as they last described themselves."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, case, delete, exists, select, update
from sqlalchemy.orm import Session

from app.contract.work import WorkerInfo
from app.store.tables import reservations, workers
from app.store.types import now
from app.store.upserts import upsert

LOST_AFTER_S = 60
"""An idle worker asks every 15 s, a busy one sends heartbeats every 10 s."""


def register(session: Session, info: WorkerInfo) -> None:
    """Store what the worker says of itself, and lock its row: claims of one worker are decided one after another."""
    values = {
        "id": info.id,
        "host": info.host,
        "devices": [device.model_dump() for device in info.devices],
        "versions": info.versions,
        "extras": info.extras or None,
        "last_seen_at": now(),
    }
    session.execute(upsert(session, workers, ["id"]).values(**values))


def seen(session: Session, worker_id: str) -> None:
    """The worker is alive."""
    session.execute(update(workers).where(workers.c.id == worker_id).values(last_seen_at=now()))


def everyone(session: Session) -> Sequence[Row[Any]]:
    """All known workers, by id; `alive` is 1 or 0."""
    return session.execute(_EVERYONE).all()


def forget(session: Session, after_s: float) -> None:
    """Remove workers that were not seen for so long and hold nothing."""
    holds = exists().where(reservations.c.worker_id == workers.c.id)
    session.execute(delete(workers).where(workers.c.last_seen_at < now() - after_s, ~holds))


_ALIVE = case((workers.c.last_seen_at > now() - LOST_AFTER_S, 1), else_=0).label("alive")
_EVERYONE = select(workers, _ALIVE).order_by(workers.c.id)
