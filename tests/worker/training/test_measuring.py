"""The programs of the phase `measuring`: bounded, stoppable, and a file that none can run is told of."""

import time

import pytest

from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from worker.training import measuring
from worker.training.board import Board
from worker.training.errors import RunFailure
from worker.training.events import EventLog
from worker.training.launcher import Launch
from worker.training.measuring import PIPE, Measuring
from worker.training.watch import Stopped

SPEC = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "test_resnet"}}


@pytest.fixture
def launch(tmp_path):
    for name in ("logs", "artifacts", "reference"):
        (tmp_path / name).mkdir()
    order = RunOrder(spec=JobSpec.model_validate(SPEC).resolved(), paths=Paths(run_dir=str(tmp_path)))
    return Launch(order, tmp_path, EventLog(tmp_path / "events.jsonl"), Board(1))


def sleeping(seconds):
    return ["-c", f"import time; time.sleep({seconds})"]


def test_a_program_that_takes_too_long_is_ended(launch):
    begun = time.monotonic()
    with pytest.raises(RunFailure, match="convert took longer than") as caught:
        launch._run_program("convert", 0.5, sleeping(1000))
    assert caught.value.failure.code is FailureCode.STALLED
    assert time.monotonic() - begun < 500


def test_a_program_is_ended_by_a_wish_to_stop(launch):
    launch.limits.signalled = True
    with pytest.raises(Stopped) as caught:
        launch._run_program("convert", 3600, sleeping(1000))
    assert caught.value.saved


def test_one_of_our_programs_has_the_libraries_at_once_and_fails_by_its_own_words(launch, tmp_path):
    order = tmp_path / "order.json"
    order.write_text(launch.order.model_dump_json())
    with pytest.raises(RunFailure) as caught:  # there is no network to measure
        launch._run_program("measure", 3600, ["-m", "worker.training.measure", str(order), str(tmp_path / "out"), PIPE])
    assert caught.value.failure.code is FailureCode.INTERNAL
    assert "There is no report" in (tmp_path / "logs/measure.log").read_text()


def test_a_file_that_no_runtime_can_run_fails_the_export_with_its_reason(launch, tmp_path):
    (tmp_path / "artifacts/model.onnx").write_bytes(b"no network")
    with pytest.raises(RunFailure, match=r"model\.onnx cannot be run outside of training: .*model\.onnx") as caught:
        Measuring(launch.order, tmp_path, launch._run_program)._run_alone("model.onnx")
    assert caught.value.failure.code is FailureCode.EXPORT_FAILED


def test_the_artifacts_are_all_files_with_their_media_types(tmp_path):
    (tmp_path / "artifacts").mkdir()
    for name in (".unfinished", "model.json", "model.onnx", "model.pt2", "model.safetensors", "usage_onnx.py"):
        (tmp_path / "artifacts" / name).write_bytes(b"x")
    found = {file.name: file.media_type for file in measuring.artifacts(tmp_path)}
    assert found == {
        "model.json": "application/json",
        "model.onnx": "application/octet-stream",
        "model.pt2": "application/octet-stream",
        "model.safetensors": "application/octet-stream",
        "usage_onnx.py": "text/x-python; charset=utf-8",
    }
