"""Counts for the operator's dashboards. Each costs no more than a bounded walk over an index."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contract.states import JobState
from app.store.tables import jobs
from app.store.types import now

COUNT_CAP = 100_000
"""Nobody reads a gauge to tell 100,000 old jobs from 200,000, and counting them would cost more with every one."""


def jobs_by_state(session: Session) -> dict[JobState, int]:
    """How many jobs are in each state, up to `COUNT_CAP`."""
    return {state: _count(session, state) for state in JobState}


def oldest_queued_s(session: Session) -> float:
    """For how long the oldest queued job has existed, in seconds; 0 when none is queued."""
    query = select(now() - func.min(jobs.c.created_at)).where(jobs.c.state == JobState.QUEUED)
    return max(session.execute(query).scalar_one() or 0.0, 0.0)


def _count(session: Session, state: JobState) -> int:
    walk = select(jobs.c.id).where(jobs.c.state == state).limit(COUNT_CAP).subquery()
    return session.execute(select(func.count()).select_from(walk)).scalar_one()
