"""The list of jobs, page by page."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.views import Job, JobPage, Pending
from app.services.job_view import reasons, view_with
from app.store.cursors import read_cursor, write_cursor
from app.store.listing import JobFilters, page_of_ids, rows_of, standings_of

__all__ = ["Found", "JobFilters", "find_jobs", "list_jobs", "read_page"]

Order = Literal["-created_at", "created_at"]


@dataclass(frozen=True)
class Found:
    """A page before its jobs are read: in order, where each stands."""

    standings: dict[str, Row[Any]]
    next_cursor: str | None


def list_jobs(session: Session, filters: JobFilters, order: Order, limit: int, cursor: str | None) -> JobPage:
    """Jobs by age; page 10,000 costs what page 1 costs. Raises `InvalidQuery` for a cursor of another order."""
    found = find_jobs(session, filters, order, limit, cursor)
    items, waiting = read_page(session, found)
    shown = [items[each].model_copy(update={"pending": waiting.get(each)}) for each in found.standings if each in items]
    return JobPage(items=shown, next_cursor=found.next_cursor)


def find_jobs(session: Session, filters: JobFilters, order: Order, limit: int, cursor: str | None) -> Found:
    """`list_jobs`, for a caller that may have some of them at hand."""
    question = f"jobs {order}"
    behind = read_cursor(question, cursor, (float, str)) if cursor is not None else None
    ids, last = page_of_ids(session, filters, behind, limit, newest_first=order == "-created_at")
    standings = standings_of(session, ids)
    # one that was deleted between the two statements is left out
    present = {job_id: standings[job_id] for job_id in ids if job_id in standings}
    return Found(present, write_cursor(question, *last) if last else None)


def read_page(session: Session, found: Found, known: Container[str] = ()) -> tuple[dict[str, Job], dict[str, Pending]]:
    """The jobs of a page but the `known` ones, without why they wait; and why all that are queued do, by id."""
    rows = rows_of(session, [each for each in found.standings if each not in known])
    waiting = reasons(session, [*rows, *(row for each, row in found.standings.items() if each in known)])
    return {row.id: view_with(row, None) for row in rows}, waiting
