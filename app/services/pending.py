"""Why a queued job waits, found when it is read: nothing of it is stored, so nothing of it can be out of date."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app import queue
from app.contract.views import Pending
from app.services.workers import Capacity, capacities
from app.store import marks
from app.store.queue import places


def reasons(session: Session, rows: Sequence[Row[Any]]) -> dict[str, Pending]:
    """For each of these queued jobs. Costs nothing when there are none, else a few short statements for all."""
    if not rows:
        return {}
    hosts = capacities(session)
    found = places(session, rows)
    # by the database's clock, as all times on the rows are; before its first attempt a job backs off from nothing
    now_s = marks.clock(session) if any(row.attempt for row in rows) else 0.0
    return {
        row.id: _pending(row, hosts, found[row.id], row.available_at - now_s if row.attempt else 0.0) for row in rows
    }


def _pending(row: Row[Any], hosts: Sequence[Capacity], position: int, wait_s: float) -> Pending:
    capable = [host for host in hosts if _is_capable(host, row)]
    devices = f"{row.processes} {'GPU' if row.needs_gpu else 'device'}{'s' if row.processes > 1 else ''}"
    if wait_s > 0.5:
        return Pending(reason="backing_off", detail=f"The next attempt starts in {wait_s:.0f} s.", position=position)
    if not hosts:
        detail = "No worker is there. Start one: `trainyard worker`, or `trainyard serve` on this machine."
        return Pending(reason="no_worker", detail=detail, position=position)
    if not capable:
        detail = f"No present worker has {devices}{_lacking(hosts, row)}. The job waits for one that does."
        return Pending(reason="no_capable_worker", detail=detail, position=position)
    if not any(host.free(row.needs_gpu) >= row.processes for host in capable):
        return Pending(reason="waiting_for_gpus", detail=f"Waits for {devices} to become free.", position=position)
    if queue.is_broken():
        detail = "The broker does not answer, so workers find the job by asking: within 15 s."
        return Pending(reason="broker_down", detail=detail, position=position)
    detail = "A worker has room and is being told." if position == 1 else "Jobs in front of it are taken first."
    return Pending(reason="waiting_for_gpus", detail=detail, position=position)


def _is_capable(host: Capacity, row: Row[Any]) -> bool:
    return _has_extra(host, row) and host.total(row.needs_gpu) >= row.processes


def _has_extra(host: Capacity, row: Row[Any]) -> bool:
    return row.needs_extra in (None, *host.extras)


def _lacking(hosts: Sequence[Capacity], row: Row[Any]) -> str:
    """The optional library that is needed too; and what there is, for one who would rather ask for less."""
    beside = f" and {row.needs_extra} (make setup EXTRAS={row.needs_extra})" if row.needs_extra else ""
    most = max((host.total(row.needs_gpu) for host in hosts if _has_extra(host, row)), default=0)
    return beside + (f"; the largest has {most}" if most else "")
