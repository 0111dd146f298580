"""Clipping, smoothing and scaled losses in whole steps of the loop, against torch's own on the whole batch."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.contract.training import Sgd
from worker.training.board import Board
from worker.training.checkpoint import Position
from worker.training.council import Council, Row
from worker.training.distributed.single import SingleRank
from worker.training.loop import Share, Trainee, train_epoch
from worker.training.memory import MicroBatch
from worker.training.mixing import Partners
from worker.training.optim.sgd import build
from worker.training.precision import Precision

CPU = torch.device("cpu")
SMALL = 1e-3


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)).to(dtype)


def share(smoothing: float = 0.0, partners: Partners | None = None, dtype: torch.dtype = torch.float64) -> Share:
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(11, 3, 2, 2, dtype=dtype, generator=generator)
    return Share(images, torch.arange(11) % 3, 11, partners, smoothing=smoothing)


def steps(model: nn.Module, given: list[Share], most: int | None = None, **options: Any) -> list[Row]:
    """Train on the shares, one step each."""
    options = {"scaler": torch.amp.GradScaler("cpu", enabled=False)} | options
    trainee = Trainee(
        network=model,
        wrapped=model,
        optimizer=options.pop("optimizer", None) or torch.optim.SGD(model.parameters(), 0.1),
        precision=Precision("cpu", torch.float64),
        rate=lambda _step: 0.1,
        position=Position("training"),
        micro_batch=MicroBatch(11, 1, most),
        **options,
    )
    rows: list[Row] = []
    council = Council(SingleRank(CPU), Board(1), rows.extend, 1, published=len(trainee.metrics))
    list(train_epoch(trainee, given, SingleRank(CPU), council, lambda _step, _rate, _images: None))
    council.settle(trainee.position.step)
    return rows


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@pytest.mark.parametrize("most", [None, 4])
@pytest.mark.parametrize("limit", [SMALL, 1e3])
def test_clipping_is_that_of_torch_on_the_gradients_of_the_whole_batch(limit: float, most: int | None) -> None:
    model, reference, given = network(), network(), share()
    (row,) = steps(model, [given], most, max_gradient_norm=limit)

    optimizer = torch.optim.SGD(reference.parameters(), 0.1)
    F.cross_entropy(reference(given.images_NCHW), given.labels_N).backward()
    norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), limit)
    optimizer.step()
    assert SMALL < norm.item() < 1e3
    assert row.published == (pytest.approx(norm.item(), rel=1e-12),)
    torch.testing.assert_close(flat(model), flat(reference), rtol=0, atol=1e-14)
    if limit == SMALL:
        moved = (flat(model) - flat(network())).norm().item()
        assert moved == pytest.approx(0.1 * limit, rel=1e-2), "torch divides by the norm + 1e-6"


@pytest.mark.parametrize("mixed", [False, True])
def test_smoothing_is_cross_entropy_to_the_smoothed_answer(mixed: bool) -> None:
    weights = torch.linspace(0, 1, 11, dtype=torch.float64)
    partners = Partners(torch.arange(1, 12) % 3, weights) if mixed else None
    given = share(0.2, partners)
    model, reference = network(), network()
    (row,) = steps(model, [given], 4)

    own = F.one_hot(given.labels_N, 3).double()
    answer = torch.lerp(F.one_hot(partners.labels_N, 3).double(), own, weights[:, None]) if partners else own
    loss = F.cross_entropy(reference(given.images_NCHW), 0.8 * answer + 0.2 / 3)
    loss.backward()
    torch.optim.SGD(reference.parameters(), 0.1).step()
    assert row.loss == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(flat(model), flat(reference), rtol=0, atol=1e-14)


@pytest.mark.parametrize("limit", [None, SMALL])
def test_a_step_whose_scaled_gradients_overflow_is_left_out_and_the_next_is_scaled_less(limit: float | None) -> None:
    """In fp32 the loss is scaled up to infinity first; the arithmetic is that of fp16."""
    model, given = network(torch.float32), share(dtype=torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-127, growth_interval=1000)
    huge = Share(given.images_NCHW * 1e30, given.labels_N, 11)
    optimizer = build(Sgd(weight_decay=0.0), model)
    before = flat(model)
    (first,) = steps(model, [huge], scaler=scaler, optimizer=optimizer, max_gradient_norm=limit)
    assert torch.equal(flat(model), before)
    assert first.published[-1] == 2.0**127
    assert limit is None or not math.isfinite(first.published[0])

    (second,) = steps(model, [given], scaler=scaler, optimizer=optimizer, max_gradient_norm=limit)
    reference = network(torch.float32)
    F.cross_entropy(reference(given.images_NCHW), given.labels_N).backward()
    if limit is not None:
        norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), limit)
        assert second.published[0] == pytest.approx(norm.item(), rel=1e-5), "the norm is that of unscaled gradients"
    torch.optim.SGD(reference.parameters(), 0.1).step()
    assert second.published[-1] == 1.0
    torch.testing.assert_close(flat(model), flat(reference), rtol=0, atol=1e-6)
