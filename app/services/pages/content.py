"""What a report's page says, section by section. Reports of earlier versions lack some; those are left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.comparison import ComparedJob
from app.contract.failures import Failure
from app.contract.plan import LayerChange
from app.contract.report import Machine, Report
from app.contract.states import JobState
from app.services import comparing, metrics
from app.services.job_view import existing
from app.services.pages import measured, training
from app.services.pages.layout import Document, Section
from app.services.pages.legible import count
from app.store import events, jobs
from app.store.types import moment

CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
BASELINE = "baseline/"
MOST_POINTS = 300


@dataclass(frozen=True)
class Known:
    """All that a page is made of."""

    row: Row[Any]
    report: Report
    layers: Sequence[LayerChange]
    series: dict[str, list[tuple[float, float]]]
    others: Sequence[ComparedJob]


def document(session: Session, job_id: str, report: Report) -> Document:
    """The page of a job whose report this is. Raises `NotFound`."""
    row = existing(jobs.find(session, job_id))
    known = Known(row, report, _layers(session, job_id), _series(session, job_id), comparing.siblings(session, row))
    return Document(
        title=row.name or job_id,
        verdict=_verdict(row, report),
        good=row.state == JobState.SUCCEEDED,
        facts=list(_facts(row, report)),
        sections=list(_sections(known)),
    )


def _verdict(row: Row[Any], report: Report) -> str:
    if row.failure:
        told = Failure.model_validate(row.failure)
        return f"Failed, {told.code}: {told.message}"
    if not report.gates:
        return "Succeeded. No gate was set."
    return f"Succeeded. {sum(each.passed for each in report.gates)} of {len(report.gates)} gates passed."


def _facts(row: Row[Any], report: Report) -> Iterator[tuple[str, str]]:
    machine = report.machine
    yield "Job", row.id
    yield "Submitted", f"{moment(row.created_at):%Y-%m-%d %H:%M} UTC"
    yield "Measured on", f"{machine.device} of {machine.host}: {machine.processor}, {count(machine.threads)} threads"
    yield from ((name, version) for name, version in _libraries(machine) if version)
    yield "Shipped file", "reloaded, same outputs" if report.verified else "NOT verified"
    if report.dataset_sha256:
        yield "Data, SHA-256", report.dataset_sha256


def _libraries(machine: Machine) -> Iterator[tuple[str, str | None]]:
    yield "torch", machine.torch
    yield "TensorFlow", machine.tensorflow


def _sections(known: Known) -> Iterator[Section]:
    report = known.report
    yield from measured.gates(report)
    yield from measured.stages(report)
    yield from measured.classes(report)
    yield from measured.exports(report)
    yield from training.curves(known.series)
    yield from training.pareto(known.others)
    yield from training.layers(known.layers)


def _layers(session: Session, job_id: str) -> list[LayerChange]:
    """Of the plan that the last attempt told."""
    row = events.newest(session, job_id, "plan")
    return [LayerChange.model_validate(each) for each in row.data["plan"].get("layers", [])] if row else []


def _series(session: Session, job_id: str) -> dict[str, list[tuple[float, float]]]:
    names = [*CURVES, *(BASELINE + name for name in CURVES)]
    page = metrics.chart(session, job_id, names, MOST_POINTS)
    return {
        name: [(step, float(value)) for step, value in zip(each.step, each.value, strict=True)]
        for name, each in page.series.items()
    }
