import pytest
import torch
from torch import nn

from app.contract.training import Sgd
from worker.training.errors import RunFailure
from worker.training.optim.sgd import build


def test_a_step_follows_the_definition_of_momentum() -> None:
    model = nn.Linear(1, 1, bias=False)
    start = model.weight.item()
    optimizer = build(Sgd(learning_rate=0.1, momentum=0.5, weight_decay=0), model)
    for _ in range(2):
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
    assert model.weight.item() == pytest.approx(start - 0.1 * 1 - 0.1 * 1.5)


def test_nesterov_without_momentum_is_refused_with_the_field_named() -> None:
    with pytest.raises(RunFailure) as refusal:
        build(Sgd(nesterov=True, momentum=0), nn.Linear(1, 1))
    assert refusal.value.failure.errors[0].pointer == "/training/optimizer/nesterov"
