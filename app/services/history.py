"""What a job has done and left: events, attempts, checkpoints, artifacts, its report."""

import re
from pathlib import Path
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.failures import Failure
from app.contract.report import Report
from app.contract.views import Artifact, Attempt, CheckpointView, EventPage, JobEvent
from app.errors import InvalidQuery, NotFound
from app.services.job_view import existing, require
from app.store import attempts as attempt_rows
from app.store import events as event_rows
from app.store import files, jobs
from app.store.cursors import read_cursor, write_cursor
from app.store.session import settings_of
from app.store.types import moment, moment_or_none

QUESTION = "events"


def events(session: Session, job_id: str, after: str | None, limit: int) -> EventPage:
    """Events of one job behind `after`, a `seq` that it has had. Raises `InvalidQuery` for anything else."""
    last = existing(jobs.find(session, job_id)).event_seq
    seq = _seq(after)
    if seq > last:
        detail = (
            f"The last event of this job is {last}. Begin without a cursor: this one is of another job or database."
        )
        raise InvalidQuery.at("/after", "beyond_the_end", detail)
    rows = event_rows.of_job(session, job_id, seq, limit)
    return EventPage(items=[_event(row) for row in rows], cursor=str(rows[-1].seq if rows else seq))


def all_events(session: Session, after: str | None, limit: int) -> EventPage:
    """Events of all jobs behind `after`, the cursor of an earlier page; `data` names the job.

    Only what can no longer be overtaken is read, so that a follower misses nothing: on PostgreSQL an event shows when
    all transactions that began before its own are over.
    """
    place = read_cursor(QUESTION, after, (int, int), "after") if after is not None else (0, 0)
    rows = event_rows.of_all(session, (place[0], place[1]), limit)
    place = (rows[-1].xact, rows[-1].position) if rows else place
    items = [_event(row, {"job": row.job_id}) for row in rows]
    return EventPage(items=items, cursor=write_cursor(QUESTION, *place))


def attempts(session: Session, job_id: str) -> list[Attempt]:
    """All attempts, oldest first."""
    require(session, job_id)
    return [_attempt(row) for row in attempt_rows.of_job(session, job_id)]


def checkpoints(session: Session, job_id: str) -> list[CheckpointView]:
    """All checkpoints, oldest first."""
    require(session, job_id)
    return [
        CheckpointView(
            attempt=row.attempt,
            epoch=row.epoch,
            step=row.step,
            phase=row.phase,
            created_at=moment(row.created_at),
            size_bytes=row.size_bytes,
            sha256=row.sha256,
        )
        for row in files.checkpoints_of(session, job_id)
    ]


def artifacts(session: Session, job_id: str) -> list[Artifact]:
    """What the job left to its user, by name."""
    require(session, job_id)
    return [_artifact(row) for row in files.artifacts_of(session, job_id)]


def artifact_path(session: Session, job_id: str, name: str) -> tuple[Path, Artifact]:
    """Where an artifact lies. Raises `NotFound`, also when its file is gone, of another size than it was reported with,
    or not in the attempt's folder: what is served under a SHA-256 should be that.
    """
    require(session, job_id)
    row = existing(files.artifact(session, job_id, name), "artifact")
    folder = settings_of(session).attempt_dir(job_id, row.attempt).resolve()
    path = (folder / row.path).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise NotFound("The file of this artifact is gone from the storage folder.")
    found, whole = path.stat().st_size, row.size_bytes
    if found != whole:
        raise NotFound(f"The file of this artifact has {found:,} bytes instead of {whole:,}: it was cut or changed.")
    return path, _artifact(row)


def report(session: Session, job_id: str) -> Report:
    """The compression report. Raises `NotFound` while there is none."""
    row = existing(jobs.find(session, job_id))
    if row.report is None:
        raise NotFound(f"There is no report: the job is {row.state}, and nothing of it was measured.")
    return Report.model_validate(row.report)


def _seq(after: str | None) -> int:
    if after is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", after, re.ASCII):
        raise InvalidQuery.at("/after", "bad_cursor", "`after` is the `seq` of an event, or the `cursor` of a page.")
    return int(after)


def _event(row: Row[Any], more: dict[str, Any] | None = None) -> JobEvent:
    return JobEvent(seq=row.seq, type=row.type, time=moment(row.time), data={**row.data, **(more or {})})


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        attempt=row.attempt,
        worker=row.worker_id,
        devices=row.devices,
        state=row.state,
        started_at=moment(row.started_at),
        finished_at=moment_or_none(row.finished_at),
        failure=row.failure and Failure.model_validate(row.failure),
    )


def _artifact(row: Row[Any]) -> Artifact:
    return Artifact(
        name=row.name,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        media_type=row.media_type,
        url=f"/v1/jobs/{row.job_id}/artifacts/{row.name}",
    )
