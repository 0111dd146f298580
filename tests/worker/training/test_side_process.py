import logging
import os
from collections.abc import Iterator

import pytest

from app.contract.events import PhaseBegun
from app.contract.failures import Failure, FailureCode
from worker.training import side_process
from worker.training.errors import RunFailure
from worker.training.events import FAILURE_MARK, Reporter


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """It sets up the logs of its process, which here is the tests'."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def begin(reporter: Reporter) -> None:
    reporter.send(PhaseBegun, phase="measuring")


def told(reading: int) -> list[bytes]:
    return os.read(reading, 1 << 16).splitlines()


def test_work_that_is_done_has_told_everything_when_it_ends(pipe: tuple[int, int]) -> None:
    assert side_process.run(pipe[1], "It could not begin", begin) == 0
    (line,) = told(pipe[0])
    assert b"measuring" in line


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RunFailure(FailureCode.EXPORT_FAILED, "Not this network."), "export_failed", "Not this network."),
        (KeyError("weights"), "internal", "KeyError: 'weights'"),
        (MemoryError(), "out_of_memory", "MemoryError: "),
    ],
)
def test_what_goes_wrong_is_told_behind_the_rest_and_logged_with_its_traceback(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str], error: Exception, code: str, message: str
) -> None:
    def fail(reporter: Reporter) -> None:
        begin(reporter)
        raise error

    assert side_process.run(pipe[1], "It could not be done", fail) == 1
    begun, failed = told(pipe[0])
    assert b"measuring" in begun
    failure = Failure.model_validate_json(failed.removeprefix(FAILURE_MARK))
    assert (failure.code, failure.message) == (code, message)
    log = capsys.readouterr().err
    assert " ERROR It could not be done\nTraceback" in log
    assert "raise error" in log
