"""What a run reports: batches of events, each stored once, however often it is sent."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from app.contract.events import (
    CheckpointSaved,
    Compressed,
    DataRead,
    EpochEnded,
    Event,
    Metrics,
    Noted,
    PhaseBegun,
    Planned,
    Progressed,
)
from app.contract.states import StopWish
from app.contract.work import ReportReply
from app.errors import Conflict
from app.services.attempts import held, inside
from app.store import attempts, files, jobs, metrics
from app.store.events import News
from app.store.leases import Lease
from app.store.metrics import MAX_SERIES, Point
from app.store.summaries import shown

PUBLIC = (PhaseBegun, Planned, DataRead, Compressed, EpochEnded, CheckpointSaved, Noted)
"""These become events of the job; metrics and progress are read elsewhere, and its end is told by `finish`."""


@dataclass
class Batch:
    """What the events of a batch come to."""

    points: list[Point] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    latest: dict[str, float] = field(default_factory=dict)
    phase: str | None = None
    progress: dict[str, Any] | None = None
    dataset_sha256: str | None = None


def report(session: Session, lease: Lease, events: Sequence[Event]) -> ReportReply:
    """Store what is new among the events. Raises `Fenced`, or `Conflict` when events before these are missing."""
    row = held(session, lease)
    attempt = attempts.find(session, lease.job_id, lease.attempt)
    known = attempt.reported_seq if attempt else 0
    new = [event for event in events if event.seq > known]
    _check_unbroken(known, new)
    if new:
        batch = gathered(new, lease.attempt)
        beyond = metrics.add(session, lease.job_id, batch.points) if batch.points else set()
        _write(session, lease, row.latest_metrics, batch, beyond)
        saved = bool(batch.checkpoints)
        attempts.note_reported(session, lease, new[-1].seq, saved_checkpoint=saved)
    stop = row.stop_requested and StopWish(row.stop_requested)
    return ReportReply(acknowledged=new[-1].seq if new else known, stop=stop)


def gathered(events: Sequence[Event], attempt: int) -> Batch:
    """The events, sorted by what is done with them."""
    batch = Batch()
    for event in events:
        time_s = event.time.timestamp()
        match event:
            case Metrics():
                step, values = event.step, event.values
                batch.points += [Point(name, step, time_s, value) for name, value in values.items()]
                batch.latest.update(values)
                continue
            case Progressed():
                batch.progress = event.progress.model_dump(mode="json")
            case DataRead():
                batch.dataset_sha256 = event.dataset_sha256
            case PhaseBegun():
                batch.phase = event.phase
            case CheckpointSaved():
                batch.checkpoints.append(_checkpoint(event, time_s))
        if isinstance(event, PUBLIC):
            told = json.loads(event.model_dump_json(exclude={"seq", "time", "type"}))
            batch.news.append(News(event.type, {"attempt": attempt, **told}, time_s))
    return batch


def _check_unbroken(known: int, new: Sequence[Event]) -> None:
    for expected, event in enumerate(new, known + 1):
        if event.seq != expected:
            raise Conflict(f"Event {expected} is missing: send everything behind {known}, in order.")


def _write(session: Session, lease: Lease, latest: dict[str, float | str], batch: Batch, beyond: set[str]) -> None:
    shown_names = {name: shown(value) for name, value in batch.latest.items() if name not in beyond}
    if beyond:
        batch.news.append(_limit_note(lease.attempt, beyond))
    files.add_checkpoints(session, lease, batch.checkpoints)
    told = {"phase": batch.phase, "progress": batch.progress, "dataset_sha256": batch.dataset_sha256}
    jobs.note_report(session, lease, batch.news, {**latest, **shown_names}, told)


def _checkpoint(event: CheckpointSaved, time_s: float) -> dict[str, Any]:
    return {
        "phase": event.phase,
        "epoch": event.epoch,
        "step": event.step,
        "path": inside(event.path, "/events"),
        "size_bytes": event.size_bytes,
        "sha256": event.sha256,
        "created_at": time_s,
    }


def _limit_note(attempt: int, beyond: set[str]) -> News:
    names = ", ".join(sorted(beyond)[:5])
    message = f"A job keeps {MAX_SERIES} metrics; these and later ones are dropped: {names}."
    told = {"level": "warning", "code": "metric_limit", "message": message, "data": {}}
    return News("note", {"attempt": attempt, **told})
