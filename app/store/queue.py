"""The queue of jobs: who is next, and how many are before whom. Order: priority, then age."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Integer,
    Row,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from app.contract.states import JobState
from app.store.tables import jobs, tasks
from app.store.types import now

POSITION_CAP = 1000
"""Places are counted so far: nobody can tell 1,001 from 5,000, and the count stays a short index walk."""


class _Queued(ColumnElement[bool]):
    """The condition of the index of the queue, spelled out: with a parameter in it no planner may use that index."""

    inherit_cache = True
    _traverse_internals: list[Any] = []  # noqa: RUF012 - nothing varies: statements with it are compiled once
    type = Boolean()
    _is_implicitly_boolean = True  # else SQLAlchemy adds "= 1" on SQLite, which hides the condition from its planner
    spelled = jobs.c.state == literal_column(f"'{JobState.QUEUED}'")


@compiles(_Queued)  # type: ignore[untyped-decorator, unused-ignore]
def _plain(element: _Queued, compiler: SQLCompiler, **options: Any) -> str:
    return str(compiler.process(element.spelled, **options))


@compiles(_Queued, "sqlite")  # type: ignore[untyped-decorator, unused-ignore]
def _likely(element: _Queued, compiler: SQLCompiler, **options: Any) -> str:
    """SQLite takes every equality for a rare one, and would sort all queued jobs: 10 ms for 20,000, 0.2 with this."""
    return f"likely({compiler.process(element.spelled, **options)})"


_QUEUED = _Queued()
_AVAILABLE_AT = jobs.c.available_at + 0  # as it is, the walk would go by `ix_jobs_due`, and then be sorted
_ORDER = (jobs.c.rank, jobs.c.created_at, jobs.c.id)


@dataclass(frozen=True)
class Room:
    """Devices of one worker: how many are free now, how many it has at all, and whether they are GPUs; and which
    optional libraries it has.
    """

    free: int
    total: int
    is_gpu: bool
    extras: tuple[str, ...] = ()


def next_fitting(session: Session, room: Room) -> Row[Any] | None:
    """The first queued job that fits, locked; one that another claim has locked at this moment is passed over."""
    query = select(jobs).where(_QUEUED, _may_run(room), now() >= _AVAILABLE_AT, jobs.c.processes <= room.free)
    return session.execute(query.order_by(*_ORDER).limit(1).with_for_update(skip_locked=True)).one_or_none()


def is_held_back(session: Session, room: Room, row: Row[Any], starvation_s: float) -> bool:
    """Whether a job in front of `row` has waited too long for more devices than are free, on a worker that has them."""
    waits = and_(
        _QUEUED,
        _may_run(room),
        jobs.c.processes > room.free,
        now() - starvation_s > _AVAILABLE_AT,
        tuple_(*_ORDER) < tuple_(row.rank, row.created_at, row.id),
    )
    return bool(session.execute(select(exists().where(waits))).scalar())


def due_in_s(session: Session) -> float | None:
    """Seconds until the next of the jobs that wait for another attempt is due; None when none does."""
    query = select(func.min(jobs.c.available_at) - now()).where(_QUEUED, jobs.c.available_at > now())
    return session.execute(query).scalar()


def places(session: Session, rows: Sequence[Row[Any]]) -> dict[str, int]:
    """The place of each queued job among all of them; 1 is next. Counted up to `POSITION_CAP`, in one index walk."""
    if len(rows) == 1:
        return {rows[0].id: _jobs_before(session, rows[0]) + 1}
    order = {job_id: place for place, (job_id,) in enumerate(session.execute(_FIRST).all(), 1)}
    return {row.id: order.get(row.id, POSITION_CAP + 1) for row in rows}


def work_since(mark: ColumnElement[float], after_s: float) -> ColumnElement[bool]:
    """Whether workers should be told (again): work is there, and the last word is old or older than the work."""
    due = exists().where(_QUEUED, jobs.c.available_at <= now())
    new = exists().where(_QUEUED, jobs.c.available_at <= now(), jobs.c.available_at > mark)
    task = exists().where(tasks.c.state == "queued")
    return or_(new, and_(mark < now() - after_s, or_(due, task)))


def met(needs_extra: ColumnElement[str | None], extras: Sequence[str]) -> ColumnElement[bool]:
    """Whether a worker with these optional libraries has what is needed."""
    return or_(needs_extra.is_(None), needs_extra.in_(extras)) if extras else needs_extra.is_(None)


def _jobs_before(session: Session, row: Row[Any]) -> int:
    place = {"rank": row.rank, "created_at": row.created_at, "id": row.id}
    return session.execute(_BEFORE, {**place, "cap": POSITION_CAP}).scalar_one()


def _may_run(room: Room) -> ColumnElement[bool]:
    fits = and_(jobs.c.processes <= room.total, met(jobs.c.needs_extra, room.extras))
    return fits if room.is_gpu else and_(fits, jobs.c.needs_gpu.is_(False))


# Made once: every answer about a queued job counts.
_PLACE = tuple_(*_ORDER) < tuple_(*(bindparam(column.name, type_=column.type) for column in _ORDER))
_WALK = select(jobs.c.id).where(_QUEUED, _PLACE).limit(bindparam("cap", type_=Integer)).subquery()
_BEFORE = select(func.count()).select_from(_WALK)
_FIRST = select(jobs.c.id).where(_QUEUED).order_by(*_ORDER).limit(POSITION_CAP)
