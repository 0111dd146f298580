"""Whole runs: the same launcher, events, checkpoints and artifacts as torch's, by processes that load no torch."""

import hashlib
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

from app.contract.events import PhaseBegun, Planned, Succeeded
from tests.support.beside import ROOT, needs_tensorflow
from tests.support.mirrored_runs import SPEC, command, done, environment
from tests.training_runs import Run

pytestmark = [needs_tensorflow, pytest.mark.timeout(1800)]


def ended(spec: dict[str, Any], folder: Path, text: bytes, number: signal.Signals, **more: str) -> Run:
    """A run whose launcher gets a signal when its events have `text`."""
    with subprocess.Popen(command(spec, folder), env=environment(**more), cwd=ROOT) as process:
        events = folder / "events.jsonl"
        while not events.exists() or text not in events.read_bytes():
            assert process.poll() is None, "the run ended before"
            time.sleep(0.02)
        process.send_signal(number)
        return Run(folder, process.wait())


WATCH = """
import atexit, os, sys
def note():
    loaded = [name for name in ("torch", "timm", "tensorflow", "keras") if name in sys.modules]
    with open(os.path.join(os.path.dirname(__file__), f"{os.getpid()}.loaded"), "w") as file:
        file.write(" ".join(loaded))
atexit.register(note)
"""
"""Of each program of a run that ends: which libraries it has loaded by then."""


def test_a_run_ends_with_a_report_and_files_that_were_run_alone(tmp_path: Path) -> None:
    spec = SPEC | {"compression": [{"kind": "depthwise_separable", "include_stem": True}]}
    spec |= {"export": ["onnx", "saved_model", "tflite"], "training": SPEC["training"] | {"epochs": 1}}
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    run = done(spec, tmp_path / "run", PYTHONPATH=f"{tmp_path}:{ROOT}")
    last = run.events[-1]
    assert isinstance(last, Succeeded), last
    assert run.exit_code == 0
    names = ["model.json", "model.onnx", "model.safetensors", "model.tflite", "report.json", "saved_model.zip"]
    assert [each.name for each in last.artifacts] == names
    report = last.report
    assert [each.format for each in report.exports] == ["safetensors", "onnx", "saved_model", "tflite"]
    assert all(each.top1_agreement == 1 for each in report.exports)
    assert [each.name for each in report.stages] == ["uncompressed", "depthwise_separable"]
    assert report.after.parameters < report.before.parameters
    assert [bool(each.peak_memory_bytes) for each in report.stages] == [False, True]
    assert report.after.latency[0].runtime == "tensorflow"
    assert (report.machine.torch, report.machine.tensorflow is None) == (None, False)
    steps = next(each.plan for each in run.events if isinstance(each, Planned)).steps_per_epoch
    assert report.after.accuracy == run.metric("val/accuracy")[steps]
    assert [each.phase for each in run.events if isinstance(each, PhaseBegun)] == ["planning", "training", "measuring"]
    assert set(run.metric("train/loss")) == set(range(1, steps + 1))
    loaded = sorted(each.read_text() for each in tmp_path.glob("*.loaded"))
    # trainer, conversion, measurement; and the launcher
    assert loaded == ["tensorflow keras"] * 3 + ["torch timm"]
    weights = safetensors.numpy.load_file(run.folder / "artifacts/model.safetensors")
    assert sum(value.size for name, value in weights.items() if "moving" not in name and "drawn" not in name) == (
        report.after.parameters
    )


# An average and a best epoch's weights must be carried along, too.
OPTIONS = {"ema": {"decay": 0.95}, "export_best": "val/loss", "max_gradient_norm": 0.5, "label_smoothing": 0.1}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
def test_a_stopped_or_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, number: signal.Signals, options: dict[str, Any]
) -> None:
    """Mid-epoch, with a second network before it; TensorFlow is asked for the same sums every time."""
    mixed = {"augment": [*SPEC["augment"], {"kind": "mixup"}]} if options else {}
    spec = SPEC | mixed | {"baseline": {"kind": "train"}, "training": SPEC["training"] | {"epochs": 3} | options}
    whole = done(spec, tmp_path / "whole")
    assert whole.exit_code == 0
    often = {"TRAINYARD_CHECKPOINT_S": "0"} if number is signal.SIGKILL else {}
    half = ended(spec, tmp_path / "half", b'"step":10,"values":{"train/', number, **often)
    assert half.exit_code == (75 if number is signal.SIGTERM else -signal.SIGKILL)
    newest = half.newest_checkpoint.name.removeprefix("training-")
    assert 8 < int(newest) < 24, "in the middle of an epoch of the second network"
    resumed = done(spec, tmp_path / "half")
    assert resumed.exit_code == 0
    assert sha256(resumed.weights) == sha256(whole.weights)
    assert resumed.metric("train/loss") == whole.metric("train/loss")
    assert resumed.metric("val/loss") == whole.metric("val/loss")
    baselines = [(each.folder / "artifacts/baseline.safetensors").read_bytes() for each in (whole, resumed)]
    assert baselines[0] == baselines[1]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.slow
def test_a_loss_that_is_no_number_halves_the_rate_and_then_ends_the_run(tmp_path: Path) -> None:
    grows = {"kind": "sgd", "learning_rate": 100.0, "weight_decay": 10.0}  # weights, a thousandfold in each step
    spec = SPEC | {"training": SPEC["training"] | {"epochs": 30, "optimizer": grows}}
    run = done(spec, tmp_path / "run", TRAINYARD_COUNCIL_S="0")
    assert run.failure.code == "diverged"
    assert run.folder.joinpath("events.jsonl").read_bytes().count(b'"code":"rate_halved"') == 2


@pytest.mark.slow
def test_a_later_job_starts_from_the_network_of_an_earlier_one(tmp_path: Path) -> None:
    first = done(SPEC, tmp_path / "first")
    assert first.exit_code == 0
    split = {"kind": "depthwise_separable", "include_stem": True}  # of the other layers none is left to be split
    spec = SPEC | {"model": {"kind": "checkpoint", "job": "job_1"}, "compression": [split]}
    order = {
        "spec": spec,
        "paths": {"run_dir": str(tmp_path / "second"), "model": str(first.folder / "artifacts")},
        "devices": [0, 1],
    }
    second = done(order, tmp_path / "second")
    assert second.exit_code == 0, second.failure
    begins, ends = second.events[-1].report.before, first.events[-1].report.after
    assert (begins.parameters, begins.macs) == (ends.parameters, ends.macs)


def test_a_network_that_does_not_fit_its_images_is_refused_with_the_field(tmp_path: Path) -> None:
    model = {"kind": "keras_application", "name": "inception_v3"}
    run = done(SPEC | {"model": model}, tmp_path / "run")
    assert run.failure.code == "bad_spec"
    assert [each.pointer for each in run.failure.errors] == ["/model"]
