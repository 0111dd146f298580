"""The report of a run, measured in a clean process from the files that it left."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from app.contract.job import JobSpec
from app.contract.report import Report
from app.contract.work import Paths, RunOrder
from worker.training import augment, data, measure, normalization, reference
from worker.training.card import Scaling
from worker.training.export import card_of, export
from worker.training.networks import begin

SPEC = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_resnet", "channels": 1},
    "compression": [{"kind": "depthwise_separable"}, {"kind": "activation_compression"}],
}


@pytest.fixture
def order(tmp_path):
    return RunOrder(spec=JobSpec.model_validate(SPEC).resolved(), paths=Paths(run_dir=str(tmp_path)))


@pytest.fixture
def loaded(order):
    return data.load(order)


def finish(order, loaded, phase, stem):
    """Leave a network as a run would, with running statistics of its own."""
    network = begin(order, loaded.classes, phase).network
    pipeline = augment.compile(order.spec)
    scaling = normalization.fit(loaded.train, pipeline)
    pixels = torch.from_numpy(pipeline.evaluate_NHWC([loaded.train.read(index) for index in range(256)]))
    network.train()(normalization.apply(pixels, scaling, torch.float32))
    card = card_of(network, order, loaded.classes, Scaling(mean=scaling.mean, std=scaling.std), loaded.sha256)
    export(network, card, Path(order.paths.run_dir) / measure.ARTIFACTS, stem)
    if stem == "model":
        chosen = reference.chosen(len(loaded.validation))
        shown = pipeline.evaluate_NHWC([loaded.validation.read(int(index)) for index in chosen])
        reference.keep(Path(order.paths.run_dir), network, scaling, torch.from_numpy(shown))
    return network.eval(), scaling


def run(order, tmp_path):
    (tmp_path / "order.json").write_text(order.model_dump_json())
    command = [sys.executable, "-m", "worker.training.measure", tmp_path / "order.json", tmp_path / "out.json", "2"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def accuracy(network, loaded, order, scaling):
    """One image at a time."""
    pipeline = augment.compile(order.spec)
    right = 0
    for index in range(len(loaded.validation)):
        pixels = torch.from_numpy(pipeline.evaluate_NHWC([loaded.validation.read(index)]))
        with torch.no_grad():
            scores = network(normalization.apply(pixels, scaling, torch.float32))
        right += int(scores.argmax()) == int(loaded.validation.labels_N[index])
    return right / len(loaded.validation)


@pytest.mark.timeout(600)
def test_the_report_holds_what_the_files_are(order, loaded, tmp_path):
    network, scaling = finish(order, loaded, "training", "model")
    done = run(order, tmp_path)
    assert done.returncode == 0, done.stderr
    report = Report.model_validate_json((tmp_path / "out.json").read_bytes())

    assert report.verified
    assert report.after.file_bytes == (tmp_path / "artifacts/model.safetensors").stat().st_size
    assert report.after.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert report.after.accuracy == pytest.approx(accuracy(network, loaded, order, scaling), abs=1.5 / 359)
    assert (report.before.accuracy, report.accuracy_drop) == (None, None)
    assert report.ratios.parameters == report.before.parameters / report.after.parameters > 3
    assert report.ratios.macs > 3
    assert {each.batch_size: each.runs >= 30 for each in report.after.latency}[1]
    assert all(0 < each.p50_s <= each.p95_s for each in (*report.before.latency, *report.after.latency))
    assert report.machine.device == "cpu"
    assert report.machine.torch == torch.__version__
    assert report.machine.processor


def test_a_trained_baseline_is_what_the_network_is_compared_with(order, loaded, tmp_path):
    finish(order, loaded, "training", "model")
    baseline, scaling = finish(order, loaded, "baseline", "baseline")
    report = measure.measured(order)
    assert report.before.file_bytes == (tmp_path / "artifacts/baseline.safetensors").stat().st_size
    assert report.before.accuracy == pytest.approx(accuracy(baseline, loaded, order, scaling), abs=1.5 / 359)
    assert report.accuracy_drop == report.before.accuracy - report.after.accuracy


def test_a_network_that_starts_from_an_earlier_job_is_compared_with_that_jobs_model(order, loaded, tmp_path):
    finish(order, loaded, "training", "model")
    (tmp_path / "artifacts").rename(tmp_path / "earlier")
    spec = {**SPEC, "model": {"kind": "checkpoint", "job": "job_earlier"}, "compression": SPEC["compression"][1:]}
    paths = Paths(run_dir=str(tmp_path), model=str(tmp_path / "earlier"))
    further = RunOrder(spec=JobSpec.model_validate(spec).resolved(), paths=paths)
    finish(further, loaded, "training", "model")

    report = measure.measured(further)
    assert (report.before.accuracy, report.accuracy_drop) == (None, None)
    assert report.before.file_bytes == (tmp_path / "earlier/model.safetensors").stat().st_size
    assert report.after.parameters < report.before.parameters

    same = RunOrder(spec=JobSpec.model_validate(spec | {"compression": []}).resolved(), paths=paths)
    finish(same, loaded, "training", "model")
    report = measure.measured(same)
    assert report.before.latency == report.after.latency


def test_a_file_that_answers_otherwise_than_the_trained_network_is_not_verified(order, loaded, tmp_path):
    finish(order, loaded, "training", "model")
    path = tmp_path / "artifacts/model.json"
    card = json.loads(path.read_text())
    card["probe"]["outputs"][3] += 1.0
    path.write_text(json.dumps(card))
    assert not measure.measured(order).verified


def test_a_damaged_model_ends_the_program_with_the_reason(order, loaded, tmp_path):
    finish(order, loaded, "training", "model")
    (tmp_path / "artifacts/model.safetensors").write_bytes(b"")
    done = run(order, tmp_path)
    assert done.returncode == 1
    assert "model.safetensors has 0 bytes instead of" in done.stderr


def test_the_artifacts_are_all_files_with_their_hashes(order, loaded, tmp_path):
    finish(order, loaded, "training", "model")
    (tmp_path / "artifacts/.unfinished").write_bytes(b"x")
    found = measure.artifacts(tmp_path)
    assert [file.name for file in found] == ["model.json", "model.safetensors"]
    assert [file.size_bytes for file in found] == [(tmp_path / file.path).stat().st_size for file in found]


def test_both_networks_are_timed_on_the_same_number_of_runs(order, loaded, tmp_path):
    finish(order, loaded, "training", "model")
    report = measure.measured(order)
    assert [each.runs for each in report.before.latency] == [each.runs for each in report.after.latency]
    assert np.isfinite(report.ratios.latency_p50)


def test_a_job_without_methods_is_as_fast_and_as_large_as_it_was(tmp_path, loaded):
    spec = JobSpec.model_validate({**SPEC, "compression": []}).resolved()
    plain = RunOrder(spec=spec, paths=Paths(run_dir=str(tmp_path)))
    finish(plain, loaded, "training", "model")
    report = measure.measured(plain)
    assert [each.name for each in report.stages] == ["uncompressed", "trained"]
    assert report.before.latency == report.after.latency
    assert report.stages[0].gzip_bytes == report.stages[1].gzip_bytes
    assert {report.ratios.parameters, report.ratios.macs, report.ratios.latency_p50, report.ratios.file_bytes} == {1.0}


def test_a_method_of_the_loop_is_as_fast_as_the_network_that_it_leaves(tmp_path, loaded):
    methods = [{"kind": "depthwise_separable"}, {"kind": "saved_activations"}]
    order = RunOrder(
        spec=JobSpec.model_validate({**SPEC, "compression": methods}).resolved(), paths=Paths(run_dir=str(tmp_path))
    )
    finish(order, loaded, "training", "model")
    uncompressed, separable, saved = measure.measured(order).stages
    assert separable.latency == saved.latency != uncompressed.latency
