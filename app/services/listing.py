"""The list of jobs, page by page."""

from typing import Literal

from sqlalchemy.orm import Session

from app.contract.views import JobPage
from app.services.job_view import views
from app.store.cursors import read_cursor, write_cursor
from app.store.listing import JobFilters, page

__all__ = ["JobFilters", "list_jobs"]

Order = Literal["-created_at", "created_at"]


def list_jobs(session: Session, filters: JobFilters, order: Order, limit: int, cursor: str | None) -> JobPage:
    """Jobs by age; page 10,000 costs what page 1 costs. Raises `InvalidQuery` for a cursor of another order."""
    question = f"jobs {order}"
    behind = read_cursor(question, cursor, (float, str)) if cursor is not None else None
    rows, last = page(session, filters, behind, limit, newest_first=order == "-created_at")
    return JobPage(items=views(session, rows), next_cursor=write_cursor(question, *last) if last else None)
