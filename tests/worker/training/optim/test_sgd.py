import pytest
import torch
from torch import nn

from app.contract.training import Sgd
from worker.training.optim.sgd import build


def test_a_step_follows_the_definition_of_momentum() -> None:
    model = nn.Linear(1, 1, bias=False)
    start = model.weight.item()
    optimizer = build(Sgd(learning_rate=0.1, momentum=0.5, weight_decay=0), model)
    for _ in range(2):
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
    assert model.weight.item() == pytest.approx(start - 0.1 * 1 - 0.1 * 1.5)


def test_nesterov_looks_ahead_along_the_momentum() -> None:
    model = nn.Linear(1, 1, bias=False)
    start = model.weight.item()
    optimizer = build(Sgd(learning_rate=0.1, momentum=0.5, nesterov=True, weight_decay=0), model)
    for _ in range(2):
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
    assert model.weight.item() == pytest.approx(start - 0.1 * 1.5 - 0.1 * 1.75)
