"""What the end of a run means."""

import signal
from datetime import UTC, datetime

import pytest

from app.contract.events import ArtifactFile, Failed, Stopped
from app.contract.failures import FailureCode, failure
from tests.support.service import REPORT
from worker import outcome

NOW = datetime(2026, 11, 21, tzinfo=UTC)
STOPPED = Stopped(seq=1, time=NOW, saved=True)
FAILED = Failed(seq=1, time=NOW, failure=failure(FailureCode.TIMEOUT, "too long"))


@pytest.mark.parametrize(
    ("last", "exit_code", "stopped", "expected"),
    [
        (STOPPED, 75, True, "released"),
        (None, -signal.SIGKILL, True, "released"),  # it did not save in time
        (STOPPED, 75, False, "released"),  # the host's shutdown asked, not we
        (FAILED, 1, True, "failed"),
        (None, 0, False, "failed"),  # exit code 0 alone is no success
        (None, 3, False, "failed"),
    ],
)
def test_the_end_of_a_run(job_work, last, exit_code, stopped, expected):
    assert outcome.of_run(job_work(), last, exit_code, stopped=stopped).outcome == expected


def test_what_a_failed_run_left_is_handed_over_with_its_reason(job_work):
    """Also when nobody watched: the last line tells it all."""
    file = ArtifactFile(name="model.json", path="artifacts/model.json", size_bytes=2, sha256="a" * 64)
    why = failure(FailureCode.GATE_MISSED, "1 of 1 gates missed")
    last = Failed(seq=1, time=NOW, failure=why, report=REPORT, artifacts=[file])
    for end in (outcome.of_run(job_work(), last, 1, stopped=False), outcome.of_abandoned(job_work(), last)):
        assert (end.outcome, end.failure.code, end.report, end.artifacts) == ("failed", "gate_missed", REPORT, [file])


def test_a_kill_from_outside_names_the_usual_reason(job_work):
    end = outcome.of_run(job_work(), None, -signal.SIGKILL, stopped=False)

    assert end.failure.code == "crashed"
    assert "SIGKILL" in end.failure.message
    assert "memory" in end.failure.message


def test_a_full_disk_is_told_by_the_exit_code_when_there_was_no_room_for_a_line(job_work):
    end = outcome.of_run(job_work(), None, 74, stopped=False)

    assert (end.outcome, end.failure.code) == ("failed", "disk_full")


@pytest.mark.parametrize(("last", "expected"), [(None, "lost_worker"), (STOPPED, None), (FAILED, "timeout")])
def test_the_end_of_a_run_that_nobody_watched(job_work, last, expected):
    end = outcome.of_abandoned(job_work(), last)

    assert (end.failure and end.failure.code) == expected
