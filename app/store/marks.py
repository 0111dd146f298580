"""When a periodic duty was last done, by whichever replica: so that one of them does it."""

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from app.store.tables import upkeep_marks
from app.store.types import now
from app.store.upserts import insert_if_absent


def clock(session: Session) -> float:
    """The database's time, in seconds since 1970."""
    return session.execute(select(now())).scalar_one()


LAST_DONE: ColumnElement[float] = upkeep_marks.c.time
"""When the duty was last done, for the condition of `move`."""


def move(session: Session, name: str, is_due: ColumnElement[bool]) -> bool:
    """Set the mark to now if the duty is due; True for the one replica that did."""
    session.execute(insert_if_absent(session, upkeep_marks, ["name"]).values(name=name, time=0.0))
    statement = update(upkeep_marks).where(upkeep_marks.c.name == name, is_due).values(time=now())
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def move_every(session: Session, name: str, period_s: float) -> bool:
    """The same for a duty that is due when so much time has passed."""
    return move(session, name, upkeep_marks.c.time < now() - period_s)
