import pytest
import torch
from torch import nn

from app.contract.training import AdamW
from worker.training.optim.adamw import build


def test_the_decay_is_decoupled_from_the_gradient() -> None:
    model = nn.Linear(1, 1, bias=False)
    start = model.weight.item()
    optimizer = build(AdamW(learning_rate=0.1, weight_decay=0.5), model)
    model.weight.grad = torch.full_like(model.weight, 123.0)
    optimizer.step()  # the first step of Adam is the rate times the gradient's sign
    assert model.weight.item() == pytest.approx(start * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)
