"""Options of training in whole runs: what is evaluated, saved, exported, measured and told."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from app.contract.events import CheckpointSaved, Noted, Succeeded
from app.contract.job import JobSpec
from app.contract.plan import Plan
from app.contract.work import Paths, RunOrder
from tests.training_runs import WarmParent, trained
from worker.training import checkpoint
from worker.training.errors import RunFailure
from worker.training.planning import make_plan

pytestmark = pytest.mark.timeout(600)  # the machine may be busy

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [{"kind": "resize", "size": [16, 16]}],
}
# The rate rises until nothing that was learned is left: the last epoch is never the best.
SPOILING = {
    "epochs": 6,
    "batch_size": 64,
    "optimizer": {"kind": "adamw", "learning_rate": 2.0, "weight_decay": 2.0},
    "schedule": {"kind": "constant", "warmup_epochs": 6},
}


def planned(training: dict[str, Any], device_kind: str = "cpu") -> Plan:
    spec = JobSpec.model_validate(SPEC | {"training": training}).resolved()
    return make_plan(RunOrder(spec=spec, paths=Paths(run_dir=""), device_kind=device_kind))  # type: ignore[arg-type]


def test_the_best_epochs_average_is_what_is_exported_and_measured(warm: WarmParent, tmp_path: Path) -> None:
    training = SPOILING | {"ema": {"decay": 0.8}, "export_best": "val/accuracy"}
    gates = {"min_accuracy": 0.2}
    run = warm.run(SPEC | {"training": training, "gates": gates}, tmp_path)
    end = run.events[-1]
    assert isinstance(end, Succeeded), end
    accuracies = run.metric("val/accuracy")
    best = max(accuracies.values())
    assert accuracies[max(accuracies)] < 0.2 < best, "or the gate would not tell the last epoch from the best"
    assert end.report.after.accuracy == pytest.approx(best)
    told = end.report.stages[-1].trained
    assert told is not None
    steps = sorted(accuracies)
    assert told.exported_epoch == steps.index(min(s for s in steps if accuracies[s] == best)) + 1
    assert (told.epochs, told.averaged, told.stopped_early) == (6, True, False)

    saved = checkpoint.load(run.newest_checkpoint).tensors
    exported = safetensors.torch.load(run.weights)
    assert all(torch.equal(tensor, saved["best"][name]) for name, tensor in exported.items())
    name = next(name for name, tensor in exported.items() if tensor.ndim == 4)
    assert not torch.equal(saved["best"][name], saved["ema"][name])
    assert not torch.equal(saved["ema"][name], saved["model"][name])


def test_training_that_makes_no_progress_ends_and_says_so_and_each_checkpoint_tells_its_stall(
    warm: WarmParent, tmp_path: Path
) -> None:
    stopping = {"metric": "val/loss", "patience": 2, "min_delta": 100}
    training = {"epochs": 20, "batch_size": 64, "early_stopping": stopping, "memory_format": "contiguous"}
    training |= {"optimizer": {"kind": "sgd", "fused": False}}
    run = warm.run(SPEC | {"training": training}, tmp_path, meanwhile=trained(tmp_path))
    (note,) = (event for event in run.events if isinstance(event, Noted) and event.code == "stopped_early")
    assert note.data == {"epoch": 3, "epochs": 20, "metric": "val/loss"}
    assert len(run.metric("val/loss")) == 3

    saves = [event.step for event in run.events if isinstance(event, CheckpointSaved)]
    stalls = run.metric("system/checkpoint_stall_s")
    assert saves == list(stalls)
    assert all(0 < stall < 600 for stall in stalls.values())

    state = checkpoint.load(run.newest_checkpoint)
    assert (state.position.stopped_early, state.position.waited) == (True, 2)
    weights = [tensor for tensor in state.tensors["model"].values() if tensor.ndim == 4]
    assert all(weight.is_contiguous() for weight in weights)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # both ranks compile
@pytest.mark.parametrize("options", [{}, {"sync_batchnorm": True}], ids=["plain", "synchronised"])
def test_a_compiled_run_computes_what_one_that_is_not_computes(
    warm: WarmParent, tmp_path: Path, options: dict[str, Any]
) -> None:
    plain, compiled = (
        warm.run(
            SPEC
            | {
                "training": {"epochs": 2, "batch_size": 50, "precision": "fp64", "compile": choice},
                "distributed": {"kind": "ddp", "processes": 2} | options,
            },
            tmp_path / str(choice),
            meanwhile=trained(tmp_path / str(choice)),
            TRAINYARD_CACHE_DIR=str(tmp_path / "cache"),
        )
        for choice in (False, True)
    )
    assert list((tmp_path / "cache/compiled").rglob("*.so"))
    for name in ("train/loss", "val/loss"):
        assert len(plain.metric(name)) >= 2
        assert compiled.metric(name) == pytest.approx(plain.metric(name), abs=1e-8, rel=0)


SETTLED = """
from worker.training import phase
settle = phase.settle
def told(network, *rest):
    hung = [name for name, layer in network.named_modules() if "forward" in vars(layer)]
    Path(os.environ["SETTLED"]).write_text(str(len(hung)))
    return settle(network, *rest)
phase.settle = told
"""


def test_what_is_compiled_is_the_network_with_its_statistics_over_all_processes(
    warm: WarmParent, tmp_path: Path
) -> None:
    """Else its first step would compile it again, outside of what tells a network that cannot be compiled."""
    training = {"epochs": 1, "batch_size": 600}
    job = SPEC | {"training": training, "distributed": {"kind": "ddp", "processes": 1, "sync_batchnorm": True}}
    told = {"TRAINYARD_TEST_CODE": SETTLED, "SETTLED": str(tmp_path / "settled")}
    warm.run(job, tmp_path / "run", meanwhile=trained(tmp_path / "run"), **told)
    assert int((tmp_path / "settled").read_text()) > 5


def test_the_plan_says_how_steps_will_be_computed() -> None:
    computing = planned({"epochs": 1000}, "cuda").computing
    assert computing
    assert computing.precision == "bf16"
    computing = planned({"precision": "fp64"}).computing
    assert computing
    assert (computing.precision, computing.compiled) == ("fp64", False)
    assert "CPU" in computing.reason


def test_the_plan_counts_the_average_and_warns_of_one_that_forgets_too_slowly() -> None:
    plain, averaged = planned({}), planned({"ema": {"decay": 0.9999}})
    assert averaged.memory_bytes - plain.memory_bytes == 4 * plain.after.parameters
    assert averaged.warnings == plain.warnings
    slow = planned({"ema": {"decay": 0.999, "warmup": False}})
    assert [each for each in slow.warnings if "of the initial weights: lower decay, or set warmup" in each]


def test_the_plan_refuses_to_compile_where_it_cannot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunFailure, match="install"):
        planned({"compile": True})
