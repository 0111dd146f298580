"""The jobs table. Every change is one conditional UPDATE that moves the version and takes the events' numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Row,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from app.contract.states import FINAL, JobState, before
from app.store import events
from app.store.events import News
from app.store.leases import GUARD, Lease, guard_values, held_by
from app.store.session import touched
from app.store.tables import job_labels, jobs
from app.store.types import now

JobRow = Row[Any]


def create(session: Session, job_id: str, labels: dict[str, str], news: Sequence[News], **values: Any) -> JobRow:
    """Store a queued job with its labels and first events."""
    row = session.execute(_CREATE, {"id": job_id, "labels": labels, "event_seq": len(news), **values}).one()
    _write_labels(session, row)
    events.append(session, job_id, 0, news)
    touched(session, job_id)
    return row


def find(session: Session, job_id: str) -> JobRow | None:
    """One job, as it is now."""
    return session.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()


def lock(session: Session, *conditions: ColumnElement[bool]) -> JobRow | None:
    """One job, locked until the transaction ends. (SQLite has locked everything already.)"""
    return session.execute(select(jobs).where(*conditions).with_for_update()).one_or_none()


def lock_held(session: Session, lease: Lease) -> JobRow | None:
    """The job of this lease, locked; None when it holds no more."""
    return session.execute(_LOCK_HELD, guard_values(lease)).one_or_none()


def keep(session: Session, job_id: str) -> JobRow | None:
    """One job that cannot be deleted until the transaction ends."""
    return session.execute(select(jobs).where(jobs.c.id == job_id).with_for_update(read=True)).one_or_none()


def version(session: Session, job_id: str) -> int | None:
    """Grows with every visible change."""
    return session.execute(select(jobs.c.version).where(jobs.c.id == job_id)).scalar_one_or_none()


def standing(session: Session, job_id: str) -> tuple[int, str] | None:
    """Version and state, without the rest."""
    row = session.execute(select(jobs.c.version, jobs.c.state).where(jobs.c.id == job_id)).one_or_none()
    return None if row is None else (row.version, row.state)


def change(
    session: Session, job_id: str, *conditions: ColumnElement[bool], news: Sequence[News] = (), **values: Any
) -> JobRow | None:
    """Write `values` and events if the conditions hold; None, and nothing written, if they do not."""
    statement = (
        update(jobs)
        .where(jobs.c.id == job_id, *conditions)
        .values(version=jobs.c.version + 1, event_seq=jobs.c.event_seq + len(news), **values)
        .returning(jobs)
    )
    row = session.execute(statement).one_or_none()
    if row is not None:
        events.append(session, job_id, row.event_seq - len(news), news)
        touched(session, job_id)
    return row


def note_report(
    session: Session,
    lease: Lease,
    news: Sequence[News],
    latest: dict[str, float | str],
    told: Mapping[str, Any],
) -> None:
    """`change` to what a run reports. `told` has a value for each of `REPORTED`; None leaves what is there.

    The caller holds the job's row lock.
    """
    values = {f"new_{name}": told[name] for name in REPORTED} | {"news": len(news), "latest": latest}
    event_seq = session.execute(_NOTE_REPORT, {**guard_values(lease), **values}).scalar_one()
    events.append(session, lease.job_id, event_seq - len(news), news)
    touched(session, lease.job_id)


def enter(
    session: Session,
    job_id: str,
    state: JobState,
    *conditions: ColumnElement[bool],
    news: Sequence[News] = (),
    about: dict[str, Any] | None = None,
    **values: Any,
) -> JobRow | None:
    """A transition: only from a state that the table in `app.contract.states` allows. `about` joins the state event."""
    told = News("state", {"state": state.value, **(about or {})})
    allowed = jobs.c.state.in_(before(state))
    row = change(session, job_id, allowed, *conditions, news=(told, *news), state=state, **values)
    if row is not None and row.labels:
        session.execute(update(job_labels).where(job_labels.c.job_id == job_id).values(state=state))
    return row


def extend_lease(session: Session, lease: Lease, lease_s: float) -> JobRow | None:
    """A heartbeat: the lease lasts `lease_s` from now, but never beyond the attempt's deadline."""
    until = now() + lease_s
    statement = (
        update(jobs)
        .where(held_by(lease))
        .values(lease_until=_smaller(until, jobs.c.deadline_at))
        .returning(jobs.c.stop_requested, jobs.c.worker_id)
    )
    return session.execute(statement).one_or_none()


def no_lease() -> dict[str, None]:
    """The values of a job that no worker holds."""
    return dict.fromkeys(("worker_id", "token_hash", "lease_until", "deadline_at", "stop_requested"))


def expired(session: Session, limit: int) -> Sequence[Any]:
    """Jobs whose lease ended, those first that ended first."""
    query = select(jobs.c.id, jobs.c.attempt, jobs.c.token_hash, jobs.c.lease_until)
    query = query.where(jobs.c.lease_until < now()).order_by(jobs.c.lease_until).limit(limit)
    return session.execute(query).all()


def relabel(session: Session, row: JobRow) -> None:
    """Make the filter's rows equal to the job's labels."""
    session.execute(delete(job_labels).where(job_labels.c.job_id == row.id))
    _write_labels(session, row)


def is_needed(session: Session, job_id: str) -> bool:
    """Whether a job that is not over starts from this one's model or checkpoint, learns from or is compared with it."""
    named = (jobs.c.model_job, jobs.c.resume_job, jobs.c.teacher_job, jobs.c.baseline_job)
    reads = or_(*(column == job_id for column in named))
    return bool(session.execute(select(exists().where(reads, jobs.c.state.not_in(FINAL)))).scalar())


def remove(session: Session, job_id: str) -> None:
    """Delete the row and all that hangs on it; the points of its metrics are left to upkeep."""
    session.execute(delete(jobs).where(jobs.c.id == job_id))
    touched(session, job_id)


def _write_labels(session: Session, row: JobRow) -> None:
    if row.labels:
        rows = [{"key": key, "value": value} for key, value in row.labels.items()]
        own = {"job_id": row.id, "state": row.state, "created_at": row.created_at}
        session.execute(_LABEL, [{**own, **each} for each in rows])


def _smaller(left: ColumnElement[float], right: ColumnElement[float]) -> ColumnElement[float]:
    return case((left < right, left), else_=right)


# Made once: to build and to hash a statement of 35 columns takes longer than to execute it.
_CREATE = (
    insert(jobs)
    .values(
        version=1,
        state=JobState.QUEUED,
        created_at=now(),
        available_at=now(),
        attempt=0,
        latest_metrics={},
        failures=0,
        barren_attempts=0,
        spent_s=0.0,
    )
    .returning(jobs)
)
_LABEL = insert(job_labels)
_LOCK_HELD = select(jobs).where(GUARD).with_for_update()


def _given(name: str, column: ColumnElement[Any]) -> BindParameter[Any]:
    return bindparam(name, type_=column.type)


REPORTED = ("phase", "progress", "dataset_sha256")
"""What a run tells of itself from time to time."""

_NOTE_REPORT = (
    update(jobs)
    .where(GUARD)
    .values(
        version=jobs.c.version + 1,
        event_seq=jobs.c.event_seq + bindparam("news"),
        latest_metrics=_given("latest", jobs.c.latest_metrics),
        **{name: func.coalesce(_given(f"new_{name}", jobs.c[name]), jobs.c[name]) for name in REPORTED},
    )
    .returning(jobs.c.event_seq)
)
