"""The claim: a worker says what it has, and gets one thing to do, or nothing.

Background tasks come first, since a user waits for them and they hold no device. Of the jobs, the first in the queue
that fits the worker's free devices is taken: a job that does not fit does not block one that does. So that a job that
needs many devices cannot starve behind a stream of small ones, one that has waited `starvation_s` holds back: a worker
that could run it gives its free devices to no job behind it, until enough of them are free. (Higher priorities still
go first: that is what they mean.)
"""

import math
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.distributed import fitting
from app.contract.faults import Point, reach
from app.contract.states import JobState
from app.contract.work import Device, JobWork, RunOrder, TaskWork, WorkerInfo
from app.errors import Fenced
from app.identifiers import digest, new_token
from app.services import tasks
from app.services.job_view import spec_of
from app.services.submission import References, paths, split_of
from app.services.workers import Capacity
from app.settings import Settings
from app.store import attempts, jobs, queue, workers
from app.store.leases import Lease
from app.store.session import settings_of
from app.store.tables import jobs as table
from app.store.types import now

START_WITHIN_S = 600.0
"""A supervisor says `start` within seconds; one that only sends heartbeats hangs."""


def claim(session: Session, info: WorkerInfo) -> JobWork | TaskWork | None:
    """Register the worker, and give it the next thing that it has room for."""
    workers.register(session, info)
    task = tasks.claim(session, info)
    return task or _claim_job(session, info)


def ask_again_s(session: Session) -> int | None:
    """When to ask again after nothing fitted, in whole seconds: a job between two attempts is due then."""
    due_s = queue.due_in_s(session)
    return None if due_s is None else max(math.ceil(due_s), 1)


def _claim_job(session: Session, info: WorkerInfo) -> JobWork | None:
    reserved = frozenset(attempts.reserved_devices(session, info.id))
    capacity = Capacity(tuple(info.devices), reserved, tuple(info.extras))
    for room in capacity.rooms():
        row = queue.next_fitting(session, room) if room.free else None
        if row and not queue.is_held_back(session, room, row, settings_of(session).starvation_s):
            return _give(session, row, info.id, capacity.take(_processes(row, room)))
    return None


def _processes(row: Row[Any], room: queue.Room) -> int:
    """How many devices the job is given: a spec may leave that to the worker's free ones."""
    spec = spec_of(row.spec)
    return fitting(spec.distributed, room.free, spec.training.batch_size)


def _give(session: Session, row: Row[Any], worker_id: str, devices: tuple[Device, ...]) -> JobWork:
    settings = settings_of(session)
    token = new_token()
    lease = Lease(row.id, row.attempt + 1, digest(token))
    changed = jobs.enter(
        session,
        row.id,
        JobState.STARTING,
        table.c.attempt == row.attempt,
        about={"attempt": lease.attempt, "worker": worker_id},
        attempt=lease.attempt,
        worker_id=worker_id,
        token_hash=lease.token_hash,
        lease_until=now() + settings.lease_s,
        deadline_at=now() + START_WITHIN_S,
    )
    if changed is None:  # not possible while the row is locked
        raise Fenced
    attempts.begin(session, lease, worker_id, [device.index for device in devices])
    reach(Point.CLAIM_BEFORE_COMMIT)
    return JobWork(
        job=row.id,
        attempt=lease.attempt,
        token=token,
        lease_s=settings.lease_s,
        heartbeat_s=settings.heartbeat_s,
        grace_s=settings.stop_grace_s,
        traceparent=row.traceparent,
        order=_order(session, settings, changed, devices),
    )


def _order(session: Session, settings: Settings, row: Row[Any], devices: tuple[Device, ...]) -> RunOrder:
    spec = spec_of(row.spec)
    resume_jobs = (row.id, row.resume_job) if row.resume_job else (row.id,)
    refers = References(
        dataset_id=row.dataset_id,
        dataset_path=row.dataset_path,
        model_job=row.model_job,
        teacher_job=row.teacher_job,
        baseline_job=row.baseline_job,
    )
    return RunOrder(
        job=row.id,
        spec=spec,
        paths=paths(session, settings, settings.attempt_dir(row.id, row.attempt), refers, resume_jobs),
        baseline_split=split_of(session, refers.baseline_job),
        model_split=split_of(session, refers.model_job),
        teacher_split=split_of(session, refers.teacher_job),
        device_kind=devices[0].kind,
        devices=[device.index for device in devices],
        time_left_s=max(spec.limits.max_duration_s - row.spent_s, 1.0),
        bad_image_share=settings.bad_image_share,
    )
