import math
import os
from pathlib import Path

import pytest

from app.contract.events import EVENT, Metrics, PhaseBegun
from app.contract.failures import Failure, FailureCode, failure
from worker.training.events import FAILURE_MARK, EventLog, Reporter


def test_lines_of_all_processes_are_numbered_in_one_sequence(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    log = EventLog(tmp_path / "events.jsonl")
    log.write(PhaseBegun, phase="planning")
    reporter = Reporter(writing)
    for step in (1, 2):
        reporter.send(Metrics, step=step, values={"train/loss": math.nan if step == 2 else 0.5})
    reporter.close()
    for text in os.read(reading, 1 << 16).splitlines(keepends=True):
        log.append(text)
    events = [EVENT.validate_json(text) for text in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event.seq for event in events] == [1, 2, 3]
    assert isinstance(events[2], Metrics)
    assert math.isnan(events[2].values["train/loss"])


def test_a_log_goes_on_where_it_ended_without_the_half_line_of_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path).write(PhaseBegun, phase="planning")
    with path.open("ab") as file:
        file.write(b'{"seq":2,"ti')
    EventLog(path).write(PhaseBegun, phase="training")
    assert [EVENT.validate_json(text).seq for text in path.read_text().splitlines()] == [1, 2]


def test_a_muted_process_still_tells_its_failure_after_what_it_sent() -> None:
    for muted in (True, False):
        reading, writing = os.pipe()
        reporter = Reporter(writing, muted=muted)
        reporter.send(PhaseBegun, phase="training")
        reporter.fail(failure(FailureCode.DIVERGED, "no"))
        lines = os.read(reading, 1 << 16).splitlines()
        assert len(lines) == (1 if muted else 2)
        assert Failure.model_validate_json(lines[-1].removeprefix(FAILURE_MARK)).code == "diverged"


def test_a_line_that_a_full_disk_cuts_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, real = EventLog(tmp_path / "events.jsonl"), os.write
    events.append(b'{"type":"first"}\n')
    monkeypatch.setattr(os, "write", lambda file, text: real(file, text[:5]))
    with pytest.raises(OSError, match="No space left"):
        events.append(b'{"type":"cut"}\n')
    monkeypatch.undo()
    events.append(b'{"type":"second"}\n')
    events.close()
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert lines == [b'{"seq":1,"type":"first"}', b'{"seq":2,"type":"second"}']
