"""The list of jobs, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from app.contract.views import Job, JobPage
from app.services.job_view import views
from app.store.cursors import read_cursor, write_cursor
from app.store.listing import JobFilters, page_of_ids, rows_of, versions_of

__all__ = ["Found", "JobFilters", "find_jobs", "list_jobs", "read_jobs"]

Order = Literal["-created_at", "created_at"]


@dataclass(frozen=True)
class Found:
    """A page before its jobs are read: their ids in order, with their versions."""

    versions: dict[str, int]
    next_cursor: str | None


def list_jobs(session: Session, filters: JobFilters, order: Order, limit: int, cursor: str | None) -> JobPage:
    """Jobs by age; page 10,000 costs what page 1 costs. Raises `InvalidQuery` for a cursor of another order."""
    found = find_jobs(session, filters, order, limit, cursor)
    items = read_jobs(session, list(found.versions))
    return JobPage(items=[items[each] for each in found.versions if each in items], next_cursor=found.next_cursor)


def find_jobs(session: Session, filters: JobFilters, order: Order, limit: int, cursor: str | None) -> Found:
    """`list_jobs`, for a caller that may have some of them at hand."""
    question = f"jobs {order}"
    behind = read_cursor(question, cursor, (float, str)) if cursor is not None else None
    ids, last = page_of_ids(session, filters, behind, limit, newest_first=order == "-created_at")
    versions = versions_of(session, ids)
    # one that was deleted between the two statements is left out
    present = {job_id: versions[job_id] for job_id in ids if job_id in versions}
    return Found(present, write_cursor(question, *last) if last else None)


def read_jobs(session: Session, ids: Sequence[str]) -> dict[str, Job]:
    """These jobs by id, in the transaction that found them."""
    return {job.id: job for job in views(session, rows_of(session, ids))}
