"""Reports: once each, in order, whatever is sent."""

import math

import pytest

from app.errors import Conflict, InvalidSpec
from app.services import history
from app.services import metrics as metric_rules
from app.store import metrics as metric_rows
from tests.support.service import checkpoint, metrics


def chart(service, job, **more):
    with service.database.read() as session:
        return metric_rules.chart(session, job, None, **more).series


def test_a_batch_sent_twice_changes_nothing(service):
    job, work = service.running()
    events = [metrics(1, 0.5), {"type": "phase", "phase": "training"}, metrics(2, 0.25)]
    assert service.report(work, *events).acknowledged == 3
    before = service.job(job)
    assert service.report(work, *events).acknowledged == 3
    assert service.job(job) == before
    assert chart(service, job)["train/loss"].step == [1, 2]


def test_an_overlapping_batch_adds_only_what_is_new(service):
    job, work = service.running()
    service.report(work, metrics(1, 1.0), metrics(2, 2.0))
    assert service.report(work, metrics(2, 99.0), metrics(3, 3.0), first=2).acknowledged == 3
    assert chart(service, job)["train/loss"].value == [1.0, 2.0, 3.0]


def test_a_gap_is_refused_and_stores_nothing(service):
    job, work = service.running()
    with pytest.raises(Conflict):
        service.report(work, metrics(5, 1.0), first=2)
    assert chart(service, job) == {}


def test_phase_progress_and_latest_metrics_stand_on_the_job(service):
    job, work = service.running()
    progress = {"epoch": 1, "epochs": 2, "step": 5, "steps": 10, "fraction": 0.5, "eta_s": 3.0}
    version = service.job(job).version
    service.report(
        work,
        {"type": "phase", "phase": "training"},
        {"type": "progress", "progress": progress},
        metrics(1, 0.5),
        metrics(5, math.nan),
        metrics(5, 0.9, "val/accuracy"),
    )
    found = service.job(job)
    assert found.phase == "training"
    assert found.progress.model_dump() == progress
    assert found.latest_metrics == {"train/loss": "NaN", "val/accuracy": 0.9}
    assert found.version == version + 1


def test_only_public_events_become_events_of_the_job_in_unbroken_order(service):
    job, work = service.running()
    note = {"type": "note", "level": "warning", "code": "skipped", "message": "a", "data": {"loss": math.inf}}
    epoch = {"type": "epoch", "phase": "training", "epoch": 1, "values": {"val/loss": math.nan}}
    costs = {"parameters_before": 40, "parameters_after": 30, "macs_before": 2, "macs_after": 1}
    effect = {"method": "low_rank", "layers_changed": 1, "layers_kept": 2, **costs}
    service.report(work, metrics(1, 1.0), note, {"type": "compressed", **effect}, checkpoint(), epoch)
    service.finish(work)
    with service.database.read() as session:
        events = history.events(session, job, None, 100).items
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = ["created", "state", "state", "note", "compressed", "checkpoint", "epoch", "state"]
    assert [event.type for event in events] == kinds
    assert events[6].data["values"] == {"val/loss": "NaN"}
    assert events[4].data == {"attempt": 1, **effect}
    assert events[3].data["data"] == {"loss": "Infinity"}


def test_a_checkpoint_outside_the_attempt_is_refused(service):
    _, work = service.running()
    with pytest.raises(InvalidSpec):
        service.report(work, checkpoint() | {"path": "../../other"})


def test_names_beyond_the_limit_are_dropped_and_said(service, monkeypatch):
    monkeypatch.setattr(metric_rows, "MAX_SERIES", 3)
    job, work = service.running()
    service.report(work, *(metrics(1, 1.0, f"train/m{n}") for n in range(5)))
    assert sorted(chart(service, job)) == ["train/m0", "train/m1", "train/m2"]
    assert sorted(service.job(job).latest_metrics) == ["train/m0", "train/m1", "train/m2"]
    assert [data["code"] for kind, data in service.events(job) if kind == "note"] == ["metric_limit"]
