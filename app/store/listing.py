"""Pages of jobs: whatever is filtered by, a page is a walk over an index, from the cursor's place, as long as the page.

The walk is chosen here, not left to a planner's guess: by name if one is given, else by the first label, else by state,
else by age. Several states are several walks, since the index holds the state before the age; each is cut to the page's
length, and they are merged here: PostgreSQL would sort all matches of a UNION. A second label, or a label beside a
name, is looked up for each row of the walk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Row, Select, exists, select, tuple_, union_all
from sqlalchemy.orm import Session

from app.contract.states import JobState
from app.store.tables import job_labels, jobs

Place = tuple[float, str]
"""(created_at, id)"""


@dataclass(frozen=True)
class JobFilters:
    """Which jobs are wanted; all that is given must hold. `states`: any of them, or any at all when empty."""

    states: tuple[JobState, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def page(
    session: Session, filters: JobFilters, behind: Place | None, limit: int, *, newest_first: bool
) -> tuple[list[Row[Any]], Place | None]:
    """The next `limit` jobs behind a place, in order, and the place of the last one if there are more."""
    found = places(session, filters, behind, limit + 1, newest_first=newest_first)
    ids = [job_id for _, job_id in found[:limit]]
    rows = {row.id: row for row in session.execute(select(jobs).where(jobs.c.id.in_(ids)))}
    # one that was deleted between the two statements is left out
    return [rows[job_id] for job_id in ids if job_id in rows], found[limit - 1] if len(found) > limit else None


def places(
    session: Session, filters: JobFilters, behind: Place | None, limit: int, *, newest_first: bool
) -> list[Place]:
    """The next `limit` places behind a place, in order."""
    walks = [_walk(filters, state, behind, newest_first).limit(limit) for state in _states(filters)]
    # a bare SELECT with its own ORDER BY and LIMIT is no member of a UNION on SQLite
    query = walks[0] if len(walks) == 1 else union_all(*(select(walk.subquery()) for walk in walks))
    found = [(row.created_at, row.id) for row in session.execute(query)]
    return sorted(found, reverse=newest_first)[:limit]


def _states(filters: JobFilters) -> Sequence[JobState | None]:
    """One walk for each; None is a walk over all states."""
    if filters.states:
        return filters.states
    return tuple(JobState) if filters.labels or filters.name is not None else (None,)


def _walk(filters: JobFilters, state: JobState | None, behind: Place | None, newest_first: bool) -> Select[Any]:
    labels = dict(filters.labels)
    if filters.name is None and labels:
        key = next(iter(labels))
        job_id, query = job_labels.c.job_id, select(job_labels.c.job_id.label("id"), job_labels.c.created_at)
        query = query.where(job_labels.c.key == key, job_labels.c.value == labels.pop(key))
    else:
        job_id, query = jobs.c.id, select(jobs.c.id, jobs.c.created_at)
        query = query if filters.name is None else query.where(jobs.c.name == filters.name)
    table = job_id.table
    if state is not None:
        query = query.where(table.c.state == state)
    for key, value in labels.items():
        query = query.where(_has_label(job_id, key, value))
    return _between(query, table.c.created_at, job_id, filters, behind, newest_first)


def _between(
    query: Select[Any], created_at: Column[float], job_id: Column[str], filters: JobFilters, behind: Place | None,
    newest_first: bool,
) -> Select[Any]:  # fmt: skip
    if filters.created_after is not None:
        query = query.where(created_at > filters.created_after.timestamp())
    if filters.created_before is not None:
        query = query.where(created_at < filters.created_before.timestamp())
    if behind is not None:
        place, start = tuple_(created_at, job_id), tuple_(*behind)
        query = query.where(place < start if newest_first else place > start)
    in_order = (created_at.desc(), job_id.desc()) if newest_first else (created_at, job_id)
    return query.order_by(*in_order)


def _has_label(job_id: Column[str], key: str, value: str) -> Any:
    label = job_labels.alias()
    return exists().where(label.c.job_id == job_id, label.c.key == key, label.c.value == value)
