"""A whole run whose network is asked for in other formats."""

import pytest

from app.contract.events import Noted, Succeeded

SPEC = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_resnet", "channels": 1},
    "compression": [{"kind": "depthwise_separable"}, {"kind": "activation_compression"}],
    "training": {"epochs": 1, "batch_size": 256},
    "export": ["onnx", "torch_export"],
}


@pytest.mark.timeout(900)
def test_a_run_leaves_each_format_checked_and_measured(warm, tmp_path):
    run = warm.run(SPEC, tmp_path)
    assert run.exit_code == 0, run.failure
    last = run.events[-1]
    assert isinstance(last, Succeeded)
    names = {artifact.name for artifact in last.artifacts}
    assert names == {"model.json", "model.onnx", "model.pt2", "model.safetensors", "report.json", "usage_onnx.py"}
    exported = [event.data["file"] for event in run.events if isinstance(event, Noted) and event.code == "exported"]
    assert exported == ["model.onnx", "model.pt2"]

    report = last.report
    assert [each.format for each in report.exports] == ["safetensors", "onnx", "torch_export"]
    assert all(each.images == 64 and each.top1_agreement == 1 for each in report.exports)
    assert [each.name for each in report.stages] == ["uncompressed", "depthwise_separable", "activation_compression"]
    first, split, shipped = report.stages
    assert first.parameters > split.parameters > shipped.parameters == report.after.parameters
    assert first.macs > split.macs > shipped.macs
    assert (first.accuracy, split.accuracy) == (None, None)
    assert shipped.accuracy_interval[0] <= shipped.accuracy <= shipped.accuracy_interval[1]
    assert {each.runtime for each in shipped.latency} == {"torch", "onnxruntime"}
    assert {each.runtime for each in split.latency} == {"torch"}
    assert (first.peak_memory_bytes, split.peak_memory_bytes) == (None, None)
    assert shipped.peak_memory_bytes > shipped.training_memory_bytes > 0
    assert sum(each.images for each in report.classes) == 359
