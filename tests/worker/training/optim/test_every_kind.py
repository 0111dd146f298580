"""What every optimizer and every schedule must do, on the examples of its contract class."""

from typing import Any

import pytest
import torch
from torch import nn

from app.contract.spec import kinds
from app.contract.training import Optimizer, Schedule, Training
from worker.training.optim import make_optimizer, make_rate

STEPS_PER_EPOCH = 20


def examples(family: Any) -> list[dict[str, Any]]:
    return [example for cls in kinds(family).values() for example in cls.examples]


def training(**parts: Any) -> Training:
    return Training.model_validate({"epochs": 60, **parts})


@pytest.mark.parametrize("example", examples(Optimizer), ids=lambda example: example["kind"])
def test_an_optimizer_makes_a_network_learn(example: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    images_N3, wanted_N1 = torch.randn(64, 3), torch.randn(64, 1)
    optimizer = make_optimizer(training(optimizer=example), model)
    losses = []
    for _ in range(30):
        loss = ((model(images_N3) - wanted_N1) ** 2).mean()
        losses.append(loss.item())
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("example", examples(Optimizer), ids=lambda example: example["kind"])
def test_an_optimizer_lets_weights_decay_but_not_biases_and_norms(example: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    decayed, spared = make_optimizer(training(optimizer=example | {"weight_decay": 0.5}), model).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0.0)
    assert decayed["params"] == [model[0].weight]
    assert len(spared["params"]) == 5


@pytest.mark.parametrize("example", examples(Schedule), ids=lambda example: example["kind"])
def test_a_schedule_warms_up_linearly_to_the_peak_and_never_exceeds_it(example: dict[str, Any]) -> None:
    spec = training(schedule=example | {"warmup_epochs": 0.5})
    peak = spec.optimizer.learning_rate
    rate = make_rate(spec, STEPS_PER_EPOCH)
    assert [rate(step) for step in range(1, 11)] == pytest.approx([peak * step / 10 for step in range(1, 11)])
    assert rate(11) == pytest.approx(peak)
    later = [rate(step) for step in range(11, 60 * STEPS_PER_EPOCH + 1)]
    assert later == sorted(later, reverse=True)
    assert all(0 < each <= peak for each in later)


@pytest.mark.parametrize("example", examples(Schedule), ids=lambda example: example["kind"])
def test_a_schedule_without_warm_up_begins_at_the_peak(example: dict[str, Any]) -> None:
    spec = training(schedule=example | {"warmup_epochs": 0})
    assert make_rate(spec, STEPS_PER_EPOCH)(1) == pytest.approx(spec.optimizer.learning_rate)
