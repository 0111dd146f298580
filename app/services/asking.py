"""What a request asks of a worker and waits for: plans and previews. Who asks again finds what was begun or made."""

from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.contract.failures import Failure, FailureCode
from app.errors import InvalidSpec, ServiceUnavailable
from app.store import tasks
from app.store.session import work_waits

RESULT_KEPT_S = 120.0
REFUSAL_KEPT_S = 15.0
"""For so long the same is answered again. A refusal: three times as long as `Retry-After` tells to wait, and no longer,
since whoever mends the data and asks again wants another look."""

REFUSALS = {FailureCode.BAD_SPEC.value, FailureCode.BAD_DATASET.value}


def ask(session: Session, task_id: str, kind: str, order: BaseModel, needs_extra: str | None = None) -> bool:
    """Queue the task, unless the same one is there: not over, or over since a moment ago. Whether it is a new one."""
    _forget_old(session, task_id)
    is_new = tasks.create_once(session, task_id, kind, order.model_dump(mode="json"), needs_extra)
    if is_new:
        work_waits(session)
    return is_new


def why_not_yet(session: Session, task_id: str, doing: str, waited_s: float) -> str:
    """Why there is no result after so many seconds, and that asking again finds the one that is being made.

    `doing`: what a worker does, as in "planning the job".
    """
    row = tasks.find(session, task_id)
    if row is not None and row.state == "running":
        return (
            f"A worker is {doing}, and needs more than {waited_s:g} s, as large networks and data sets do. "
            "It goes on: ask again, and the answer comes when it is there."
        )
    return f"No worker began {doing} within {waited_s:g} s: see GET /v1/workers. Ask again; it stays asked for."


def refusal(failure: Failure, what: str) -> InvalidSpec | ServiceUnavailable:
    """The answer for a task that failed: the caller's mistake where it is one. `what` could not be made."""
    match failure.code:
        case FailureCode.BAD_SPEC:
            return InvalidSpec(failure.message, errors=failure.errors)
        case FailureCode.BAD_DATASET:
            return InvalidSpec.at("/dataset", failure.code.value, failure.message)
    return ServiceUnavailable(f"The {what} could not be made: {failure.message}", retry_after_s=5)


def _forget_old(session: Session, task_id: str) -> None:
    """Data in a folder may have changed meanwhile, and what failed by itself is worth another try at once."""
    row = tasks.find(session, task_id)
    told = row.failure["code"] if row is not None and row.failure else None
    tasks.forget(session, task_id, "done", RESULT_KEPT_S)
    tasks.forget(session, task_id, "failed", 0.0 if told and told not in REFUSALS else REFUSAL_KEPT_S)
