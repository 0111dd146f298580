"""From the trained network to the report of its int8 file, as the programs of the phase `measuring` do it."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker.training import formats, measure, measuring_files
from worker.training.formats import __main__ as program


@pytest.fixture(scope="module")
def told(trained):
    """Every file made and run; what was said meanwhile."""
    said = []

    def tell(level, code, message, **data):
        said.append((level, code, data.get("file")))

    program.Conversion(trained.order, trained.card, tell, threads=1).all()
    for file in formats.made_files(trained.order.spec):
        runner = Path(formats.__file__).with_name("_run_onnx.py")
        files = (
            trained.folder / file,
            trained.run_dir / "reference/images.npy",
            measuring_files.logits_file(trained.run_dir, file),
        )
        subprocess.run([sys.executable, "-I", runner, *files], check=True)
    return said


@pytest.fixture(scope="module")
def report(trained, told):
    return measure.measured(trained.order)


@pytest.mark.timeout(600)
def test_each_file_is_told_of(told):
    assert told == [("info", "exported", "model.onnx"), ("info", "exported", "model.int8.onnx")]


@pytest.mark.timeout(600)
def test_the_int8_file_is_what_ships(trained, report):
    assert [each.name for each in report.stages] == ["uncompressed", "trained", "quantization"]
    _before, fp32, int8 = report.stages
    assert report.after.file_bytes == int8.file_bytes == (trained.folder / "model.int8.onnx").stat().st_size
    assert (report.after.accuracy, report.before.accuracy) == (int8.accuracy, None)
    assert fp32.accuracy == pytest.approx(int8.accuracy, abs=0.01)
    assert int8.accuracy_interval[0] < int8.accuracy < int8.accuracy_interval[1]
    assert int8.parameters == fp32.parameters
    assert int8.gzip_bytes < int8.file_bytes


@pytest.mark.timeout(600)
def test_latencies_are_compared_in_one_runtime(report):
    assert {each.runtime for each in report.after.latency} == {"onnxruntime"}
    before, fp32, _ = ({(each.runtime, each.batch_size) for each in stage.latency} for stage in report.stages)
    assert before == fp32 >= {("torch", 1), ("onnxruntime", 1)}
    p50_s = [
        next(each.p50_s for each in latency if (each.runtime, each.batch_size) == ("onnxruntime", 1))
        for latency in (report.before.latency, report.after.latency)
    ]
    assert report.ratios.latency_p50 == p50_s[0] / p50_s[1]
    assert report.machine.onnxruntime


@pytest.mark.timeout(600)
def test_every_file_has_its_check(trained, report):
    found = {each.format: each for each in report.exports}
    assert list(found) == ["safetensors", "onnx", "onnx_int8"]
    assert all(each.size_bytes == (trained.folder / each.file).stat().st_size for each in found.values())
    assert found["safetensors"].max_abs_difference <= found["onnx"].max_abs_difference < 1e-3
    assert found["onnx_int8"].max_abs_difference > found["onnx"].max_abs_difference
    assert found["onnx"].top1_agreement == 1
    assert found["onnx_int8"].top1_agreement >= 0.9
    assert found["onnx"].runtime.startswith("onnxruntime ")


@pytest.mark.timeout(600)
def test_classes_add_up_to_the_accuracy(trained, report):
    assert sum(each.images for each in report.classes) == len(trained.labels_N)
    right = sum(each.after * each.images for each in report.classes)
    assert right / len(trained.labels_N) == pytest.approx(report.after.accuracy)
    assert {each.before for each in report.classes} == {None}
