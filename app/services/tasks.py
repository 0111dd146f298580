"""Background tasks as their workers see them: claim, heartbeat, finish. What a result means is said per kind."""

import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row
from sqlalchemy.orm import Session

from app.contract.datasets import DatasetFacts, ImportProgress
from app.contract.failures import Failure, FailureCode, failure
from app.contract.plan import Plan
from app.contract.previews import PreviewFiles
from app.contract.work import ImportTask, PlanTask, PreviewTask, TaskResult, TaskWork, WorkerInfo
from app.errors import Fenced, InvalidSpec
from app.identifiers import digest, new_token
from app.services import uploads
from app.store import datasets, tasks, workers
from app.store.session import after_commit, settings_of, work_waits
from app.store.tables import tasks as table
from app.store.types import now

MAX_TRIES = 3
"""How often a task is given out when workers die on it."""

KEPT_S = 3600.0
"""For how long a result can be asked for."""

_ORDERS: dict[str, type[PlanTask | ImportTask | PreviewTask]] = {
    "plan": PlanTask,
    "import": ImportTask,
    "preview": PreviewTask,
}
_RESULTS: dict[str, type[Plan | DatasetFacts | PreviewFiles]] = {
    "plan": Plan,
    "import": DatasetFacts,
    "preview": PreviewFiles,
}


def claim(session: Session, info: WorkerInfo) -> TaskWork | None:
    """The oldest queued task, if the worker has a slot for it. One of its slots is not for previews: people send many
    of them, and imports and plans must not wait behind those. A worker's only slot is for everything.
    """
    running = tasks.running_on(session, info.id)
    if running.total() >= info.task_slots:
        return None
    passed_over = "preview" if running["preview"] >= max(info.task_slots - 1, 1) else None
    token = new_token()
    lease_s = settings_of(session).lease_s
    row = tasks.claim(session, info, digest(token), lease_s, passed_over)
    if row is None:
        return None
    return TaskWork(task=row.id, token=token, lease_s=lease_s, order=_order(session, row))


def _order(session: Session, row: Row[Any]) -> PlanTask | ImportTask | PreviewTask:
    """Each try at an import writes to a folder of its own, so that one which was given up cannot spoil another's."""
    order = _ORDERS[row.kind].model_validate(row.input)
    if not isinstance(order, ImportTask):
        return order
    results = settings_of(session).check_dir(row.dataset_id, row.tries)
    return order.model_copy(update={"results": str(results)})


def heartbeat(session: Session, task_id: str, token: str, progress: ImportProgress | None = None) -> None:
    """The lease begins anew. Raises `Fenced`."""
    until = now() + settings_of(session).lease_s
    told = {"progress": progress.model_dump()} if progress else {}
    row = tasks.change(session, tasks.held(task_id, digest(token)), lease_until=until, **told)
    if row is None:
        raise Fenced
    workers.seen(session, row.worker_id)


def finish(session: Session, task_id: str, end: TaskResult) -> None:
    """Keep what the worker found. Said again by the same worker, it changes nothing. Raises `Fenced`."""
    row = tasks.find(session, task_id)
    if row is None or row.token_hash != digest(end.token):
        raise Fenced
    if row.state != "running":
        return
    if _may_try_again(row, end):
        _queue_again(session, tasks.held(task_id, digest(end.token)))
        return
    if tasks.change(session, tasks.held(task_id, digest(end.token)), **_ended(row, end)) is None:
        raise Fenced
    if row.kind == "import":
        _settle_dataset(session, row, end)
    work_waits(session)  # the slot is free


def give_up_lost(session: Session, row: Row[Any]) -> None:
    """The worker of a running task is gone: queue it again, or give up. Changes nothing if it came back meanwhile."""
    unchanged = tasks.held(row.id, row.token_hash) & (table.c.lease_until == row.lease_until)
    unchanged &= table.c.lease_until < now()
    if row.tries < MAX_TRIES:
        _queue_again(session, unchanged)
        return
    lost = failure(FailureCode.LOST_WORKER, f"{MAX_TRIES} workers in a row were lost with this task.")
    ended = {"state": "failed", "failure": lost.model_dump(mode="json"), "finished_at": now()}
    if tasks.change(session, unchanged, **ended, lease_until=None, token_hash=None) and row.kind == "import":
        datasets.settle(session, row.dataset_id, state="failed", failure=lost.model_dump(mode="json"))
        uploads.remove_files(session, row.dataset_id)
        after_commit(session, partial(_keep_only, settings_of(session).check_dir(row.dataset_id, 0)))


def _may_try_again(row: Row[Any], end: TaskResult) -> bool:
    """An import that was killed midway is done again from its beginning: it may not have been its own fault. Whoever
    waits for a plan is better told at once."""
    was_killed = end.failure is not None and end.failure.code == FailureCode.CRASHED
    return row.kind == "import" and was_killed and row.tries < MAX_TRIES


def _queue_again(session: Session, condition: ColumnElement[bool]) -> None:
    nobody = {"lease_until": None, "token_hash": None, "worker_id": None, "progress": None}
    if tasks.change(session, condition, state="queued", **nobody):
        work_waits(session)


def _ended(row: Row[Any], end: TaskResult) -> dict[str, Any]:
    over = {"lease_until": None, "finished_at": now()}
    if end.failure is not None:
        return {**over, "state": "failed", "failure": _complete(end.failure).model_dump(mode="json")}
    return {**over, "state": "done", "result": _checked(row.kind, end.result)}


def _checked(kind: str, result: dict[str, Any] | None) -> dict[str, Any]:
    try:
        return _RESULTS[kind].model_validate(result).model_dump(mode="json")
    except ValidationError as error:
        raise InvalidSpec.of(error, {"result": result}, TaskResult) from error


def _complete(told: Failure) -> Failure:
    return failure(told.code, told.message, errors=told.errors)


def _settle_dataset(session: Session, row: Row[Any], end: TaskResult) -> None:
    checked = {"check_number": row.tries}
    if end.failure is not None:
        told = _complete(end.failure).model_dump(mode="json")
        datasets.settle(session, row.dataset_id, state="failed", failure=told, **checked)
        uploads.remove_files(session, row.dataset_id)
    else:
        facts = DatasetFacts.model_validate(end.result)
        found = {"facts": facts.model_dump(mode="json"), "sha256": facts.sha256}
        datasets.settle(session, row.dataset_id, state="ready", **found, **checked)
    after_commit(session, partial(_keep_only, settings_of(session).check_dir(row.dataset_id, row.tries)))


def _keep_only(kept: Path) -> None:
    """Remove what other tries left, whose workers could not clean up behind them."""
    with suppress(OSError):
        for each in kept.parent.iterdir():
            if each != kept:
                shutil.rmtree(each, ignore_errors=True)
