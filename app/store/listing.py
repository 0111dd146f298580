"""Pages of jobs: whatever is filtered by, a page is a walk over an index, from the cursor's place, as long as the page.

The walk is chosen here, not left to a planner's guess: by the name or by a label, the rarest of those that are given,
else by state, else by age. Several states are several walks, since the index holds the state before the age; each is
cut to the page's length, and they are merged here: PostgreSQL would sort all matches of a UNION. A second label, or a
label beside a name, is looked up for each row of the walk: long where each of two is common, both together rare.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Column, Row, Select, bindparam, exists, func, select, tuple_, union_all
from sqlalchemy.orm import Session

from app.contract.states import JobState
from app.store.tables import job_labels, jobs

RARE = 1000
"""Rows of a walk that are looked up one by one within a few milliseconds: counted no further."""

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
    ids, last = page_of_ids(session, filters, behind, limit, newest_first=newest_first)
    rows = {row.id: row for row in rows_of(session, ids)}
    # one that was deleted between the two statements is left out
    return [rows[job_id] for job_id in ids if job_id in rows], last


def page_of_ids(
    session: Session, filters: JobFilters, behind: Place | None, limit: int, *, newest_first: bool
) -> tuple[list[str], Place | None]:
    """The same as ids."""
    found = places(session, filters, behind, limit + 1, newest_first=newest_first)
    return [job_id for _, job_id in found[:limit]], found[limit - 1] if len(found) > limit else None


def rows_of(session: Session, ids: Sequence[str]) -> Sequence[Row[Any]]:
    """These jobs, in any order."""
    return session.execute(_ROWS, {"ids": ids}).all() if ids else []


def standings_of(session: Session, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Of those of these jobs that are there: the version, and what tells why a queued one waits."""
    return {row.id: row for row in session.execute(_STANDINGS, {"ids": ids}).all()} if ids else {}


def places(
    session: Session, filters: JobFilters, behind: Place | None, limit: int, *, newest_first: bool
) -> list[Place]:
    """The next `limit` places behind a place, in order."""
    by = _rarest(session, filters)
    walks = [_walk(filters, by, state, behind, newest_first).limit(limit) for state in _states(filters)]
    # a bare SELECT with its own ORDER BY and LIMIT is no member of a UNION on SQLite
    query = walks[0] if len(walks) == 1 else union_all(*(select(walk.subquery()) for walk in walks))
    found = [(row.created_at, row.id) for row in session.execute(query)]
    return sorted(found, reverse=newest_first)[:limit]


def _states(filters: JobFilters) -> Sequence[JobState | None]:
    """One walk for each; None is a walk over all states."""
    if filters.states:
        return filters.states
    return tuple(JobState) if filters.labels or filters.name is not None else (None,)


def _rarest(session: Session, filters: JobFilters) -> str | None:
    """The label to walk by; None: by the name, or there is none. Only a choice costs statements."""
    candidates = [*([None] if filters.name is not None else []), *filters.labels]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    return min(candidates, key=lambda key: _count(session, filters, key))


def _count(session: Session, filters: JobFilters, key: str | None) -> int:
    """How many rows the walk would have, up to `RARE`."""
    walk = _named(filters) if key is None else _labelled(filters, key)
    return session.execute(select(func.count()).select_from(walk.limit(RARE).subquery())).scalar_one()


def _named(filters: JobFilters) -> Select[Any]:
    query = select(jobs.c.id, jobs.c.created_at)
    return query if filters.name is None else query.where(jobs.c.name == filters.name)


def _labelled(filters: JobFilters, key: str) -> Select[Any]:
    query = select(job_labels.c.job_id.label("id"), job_labels.c.created_at)
    return query.where(job_labels.c.key == key, job_labels.c.value == filters.labels[key])


def _walk(
    filters: JobFilters, by: str | None, state: JobState | None, behind: Place | None, newest_first: bool
) -> Select[Any]:
    query = _named(filters) if by is None else _labelled(filters, by)
    job_id = jobs.c.id if by is None else job_labels.c.job_id
    table = job_id.table
    if state is not None:
        query = query.where(table.c.state == state)
    if by is not None and filters.name is not None:
        query = query.where(_has_name(job_id, filters.name))
    for key, value in filters.labels.items():
        if key != by:
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


def _has_name(job_id: Column[str], name: str) -> Any:
    job = jobs.alias()
    return exists().where(job.c.id == job_id, job.c.name == name)


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_ROWS = select(jobs).where(jobs.c.id.in_(_IDS))
_WANTS = ("processes", "needs_gpu", "needs_extra")
_STANDING = ("id", "version", "state", "rank", "created_at", "available_at", "attempt", *_WANTS)
_STANDINGS = select(*(jobs.c[name] for name in _STANDING)).where(jobs.c.id.in_(_IDS))
