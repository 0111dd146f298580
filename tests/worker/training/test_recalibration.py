"""Running statistics after a trained network was changed: what they are, and when they are found."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from app.contract.events import Compressed, Metrics
from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from tests.training_runs import WarmParent, trained, when
from worker.training import seeds
from worker.training.checkpoint import Position
from worker.training.loop import Share, Trainee
from worker.training.memory import MicroBatch
from worker.training.networks import begin
from worker.training.precision import Precision
from worker.training.recalibration import recalibrate

CPU = torch.device("cpu")


def trainee_of(network: nn.Module, most: int | None = None) -> Trainee:
    return Trainee(
        network=network,
        wrapped=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        precision=Precision("cpu"),
        rate=lambda _: 0.1,
        position=Position("training"),
        micro_batch=MicroBatch(8, 2, most),
    )


def shares(count: int) -> list[Share]:
    generator = torch.Generator().manual_seed(1)
    return [Share(torch.randn(8, 3, 6, 6, generator=generator), torch.zeros(8), 8) for _ in range(count)]


@pytest.fixture
def network() -> nn.Module:
    layers = [nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)]
    network = nn.Sequential(*layers)
    network[2].running_mean.fill_(70.0)
    return network.train()


def test_statistics_are_the_mean_of_those_of_each_batch(network: nn.Module) -> None:
    given = shares(3)
    ticks: list[int] = []
    recalibrate(trainee_of(network), given, lambda: ticks.append(1))
    first = torch.stack([network[0](share.images_NCHW) for share in given]).detach()
    torch.testing.assert_close(network[2].running_mean, first.mean((1, 3, 4)).mean(0))
    torch.testing.assert_close(network[2].running_var, first.transpose(1, 2).flatten(2).var(2).mean(0))
    normal = [nn.functional.batch_norm(each, None, None, training=True) for each in first]
    second = torch.stack([network[4](each.relu()) for each in normal]).detach()
    torch.testing.assert_close(network[5].running_mean, second.mean((1, 3, 4)).mean(0))
    assert network[2].num_batches_tracked == len(ticks) == 3


def test_nothing_else_changes_and_nothing_is_drawn(network: nn.Module) -> None:
    weights = [parameter.clone() for parameter in network.parameters()]
    state = seeds.state(CPU)
    recalibrate(trainee_of(network), shares(2), lambda: None)
    assert seeds.state(CPU) == state
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), weights, strict=True))
    assert [parameter.grad for parameter in network.parameters()] == [None] * len(weights)
    assert network[2].momentum == 0.1
    assert all(module.training for module in network.modules())


def test_as_many_images_at_a_time_as_fit_are_looked_at(network: nn.Module) -> None:
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    recalibrate(trainee_of(network, most=3), shares(2), lambda: None)
    assert seen == [3, 3, 2] * 2


SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [{"kind": "resize", "size": [16, 16]}],
    "training": {"epochs": 6, "batch_size": 36, "optimizer": {"kind": "adamw", "learning_rate": 0.003}},
}
SMALLER = SPEC | {
    "model": {"kind": "checkpoint", "job": "job_earlier"},
    "compression": [{"kind": "depthwise_separable", "init": "svd", "rank": 2}, {"kind": "low_rank", "energy": 0.9}],
    "training": {"epochs": 2, "batch_size": 36, "optimizer": {"kind": "adamw", "learning_rate": 1e-12}},
}


@pytest.fixture(scope="module")
def earlier(warm: WarmParent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a job of a dense network left."""
    folder = tmp_path_factory.mktemp("earlier")
    run = warm.run(SPEC, folder, meanwhile=trained(folder))
    assert run.metric("val/accuracy")[6 * 25] > 0.8
    return folder / "artifacts"


@pytest.mark.timeout(600)
def test_a_resumed_run_neither_tells_it_twice_nor_finds_other_statistics(
    warm: WarmParent, tmp_path: Path, earlier: Path
) -> None:
    """Both ranks; weights that hardly move show that the statistics fit at the first evaluation."""
    spec = SMALLER | {"distributed": {"kind": "ddp", "processes": 2}}
    often = {"TRAINYARD_COUNCIL_S": "0.03"}
    whole = warm.run(spec, tmp_path / "whole", None, trained(tmp_path / "whole"), model=earlier, **often)
    stop = when(tmp_path / "part", b'"metrics"', 5, lambda pid: os.kill(pid, signal.SIGTERM))
    part = warm.run(spec, tmp_path / "part", None, stop, model=earlier, **often)
    assert part.exit_code == 75
    rest = warm.run(spec, tmp_path / "rest", part.newest_checkpoint, trained(tmp_path / "rest"), model=earlier, **often)

    told = [event for event in whole.events if isinstance(event, Compressed)]
    assert [each.method for each in told] == ["depthwise_separable", "low_rank"]
    assert all(each.layers_changed for each in told)
    assert told[0].parameters_after == told[1].parameters_before > told[1].parameters_after
    assert told[0].seq < next(event.seq for event in whole.events if isinstance(event, Metrics))
    effects = [each.model_dump(exclude={"seq", "time"}) for each in told]
    assert [e.model_dump(exclude={"seq", "time"}) for e in part.events if isinstance(e, Compressed)] == effects
    assert not [event for event in rest.events if isinstance(event, Compressed)]
    assert rest.weights == whole.weights
    assert rest.metric("val/loss").items() <= whole.metric("val/loss").items()


@pytest.mark.parametrize(
    ("model", "methods", "stale"),
    [
        (SMALLER["model"], SMALLER["compression"], True),
        (SMALLER["model"], [{"kind": "activation_compression"}], True),
        (SMALLER["model"], [{"kind": "depthwise_separable", "init": "svd"}], False),
        (SMALLER["model"], [], False),
        (SPEC["model"], [{"kind": "depthwise_separable"}], False),
    ],
)
def test_statistics_are_found_anew_where_a_trained_network_computes_something_else(
    tmp_path: Path, earlier: Path, model: dict[str, Any], methods: list[dict[str, Any]], stale: bool
) -> None:
    spec = JobSpec.model_validate(SPEC | {"model": model, "compression": methods})
    order = RunOrder(spec=spec.resolved(), paths=Paths(run_dir=str(tmp_path), model=str(earlier)))
    classes = [str(digit) for digit in range(10)]
    assert begin(order, classes, "training").statistics_stale == stale
    baseline = begin(order, classes, "baseline")
    assert (baseline.outcomes, baseline.statistics_stale) == ([], False)
