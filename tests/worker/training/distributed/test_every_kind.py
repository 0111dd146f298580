"""What every backend must do, by real processes on this machine."""

from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pytest
import torch
from torch import nn

from app.contract.distributed import Distributed
from app.contract.spec import kinds
from tests.support.ranks import together
from worker.training import parts
from worker.training.distributed import Ranks

KINDS = [cls for cls in kinds(Distributed).values() if cls.needs_extra is None]
EXAMPLES = [cls.model_validate(example) for cls in KINDS for example in cls.examples]


def report(ranks: Ranks) -> dict[str, Any]:
    """What a rank sees of everything that ranks do together; its input depends on its number."""
    torch.manual_seed(ranks.rank)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    ranks.place(model)
    wrapped = ranks.wrap(model)
    first = values(model.parameters())
    torch.autograd.backward(wrapped(torch.full((2, 2), float(ranks.rank))).sum() * (ranks.rank + 1))
    averaged = values([model[2].bias.grad])[0]
    model.zero_grad()
    with ranks.apart(wrapped):
        torch.autograd.backward(wrapped(torch.ones(2, 2)).sum() * (ranks.rank + 1))
    own = 1.0 if ranks.sharded else model[2].bias.grad.item() / (2.0 * (ranks.rank + 1))
    torch.autograd.backward(wrapped(torch.ones(2, 2)).sum() * 10)
    both = values([model[2].bias.grad])[0]
    model.zero_grad()
    given = torch.tensor([ranks.rank + 1.0, 2.0])
    total = ranks.total(given)
    assert given.tolist() == [ranks.rank + 1.0, 2.0]
    model[1].running_mean.fill_(ranks.rank + 5.0)
    ranks.share_buffers(model)
    with torch.no_grad(), ranks.evaluating(model):
        scored = model.eval()(torch.ones(1, 2)).tolist()
    return {
        "sum": ranks.sum_later(torch.tensor([ranks.rank + 1.0])).result().tolist(),
        "gathered": [each.decode() for each in ranks.gather(b"x" * (ranks.rank + 1))],
        "weights": first,
        "bias gradient": averaged,
        "own share of the gradient apart": own,
        "gradient of both passes": both,
        "scored": scored,
        "running mean": model[1].running_mean.tolist(),
        "total": total.tolist(),
        "rows": ranks.rows(torch.tensor([ranks.rank + 0.5, 7.0])).tolist(),
        "collected": [each["mine"].item() for each in ranks.collect({"mine": torch.tensor(ranks.rank)})],
        "divided": divided(ranks, model),
    }


def values(tensors: Iterable[torch.Tensor]) -> list[list[float]]:
    """Of whole tensors; every rank must ask."""
    return [(each.full_tensor() if ranks_divide(each) else each).detach().flatten().tolist() for each in tensors]


def ranks_divide(tensor: torch.Tensor) -> bool:
    return parts.own(tensor) is not tensor


def saved(ranks: Ranks, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's state as it comes out of a checkpoint."""
    state = ranks.whole_state(optimizer)
    buffer = BytesIO()
    torch.save(parts.split(parts.owned(state), parts.divided(state)), buffer)
    written = [torch.load(BytesIO(each), weights_only=True) for each in ranks.gather(buffer.getvalue())]
    found: dict[str, Any] = parts.joined(written[0][0], [part for _, part in written])
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return found if ranks.sharded else parts.whole_moments(found, weights)


def divided(ranks: Ranks, model: nn.Module) -> dict[str, Any]:
    """An optimizer's steps, its whole state, and its steps after that was loaded into another."""

    def optimizer() -> torch.optim.Optimizer:
        return ranks.divided(torch.optim.AdamW(model.parameters(), lr=0.1, fused=True))

    def stepped(own: torch.optim.Optimizer, rate: float) -> list[list[float]]:
        for group in own.param_groups:
            group["lr"] = rate
        for weight in model.parameters():
            weight.grad = torch.full_like(weight, 0.5)
        own.step()
        return values(model.parameters())

    first = optimizer()
    weights = stepped(first, 0.2)
    state = saved(ranks, first)
    second = optimizer()
    second.load_state_dict(state)
    rates = [group["lr"] for group in second.param_groups]
    return {"weights": weights, "known": sorted(state["state"]), "rates": rates, "later": stepped(second, 0.1)}


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda spec: spec.kind)
def reports(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return together(request.param, report)


def test_every_rank_sees_the_same(reports: list[dict[str, Any]]) -> None:
    assert all(each | {"collected": reports[0]["collected"]} == reports[0] for each in reports)


def test_what_is_collected_is_on_rank_0_alone(reports: list[dict[str, Any]]) -> None:
    assert [each["collected"] for each in reports] == [list(range(len(reports))), *[[]] * (len(reports) - 1)]


def test_sums_and_rows_within_a_step_hold_what_all_ranks_gave(reports: list[dict[str, Any]]) -> None:
    world = len(reports)
    assert reports[0]["total"] == [sum(range(1, world + 1)), 2.0 * world]
    assert reports[0]["rows"] == [[rank + 0.5, 7.0] for rank in range(world)]


def test_a_divided_optimizer_steps_as_a_whole_one_and_its_state_is_that_of_a_whole_one(
    reports: list[dict[str, Any]],
) -> None:
    weights = [torch.tensor(each).requires_grad_() for each in reports[0]["weights"]]
    whole = torch.optim.AdamW(weights, lr=0.1, fused=True)
    for rate, found in ((0.2, "weights"), (0.1, "later")):
        whole.param_groups[0]["lr"] = rate
        for weight in weights:
            weight.grad = torch.full_like(weight, 0.5)
        whole.step()
        expected = [weight.flatten().tolist() for weight in weights]
        for ours, theirs in zip(reports[0]["divided"][found], expected, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-6)
    assert reports[0]["divided"]["known"] == sorted(whole.state_dict()["state"])
    assert reports[0]["divided"]["rates"] == [0.2]


def test_sums_and_messages_hold_what_all_ranks_gave(reports: list[dict[str, Any]]) -> None:
    world = len(reports)
    assert reports[0]["sum"] == [sum(range(1, world + 1))]
    assert reports[0]["gathered"] == ["x" * (number + 1) for number in range(world)]


def test_gradients_are_averaged_with_equal_weights(reports: list[dict[str, Any]]) -> None:
    world = len(reports)
    mean = sum(2.0 * (number + 1) for number in range(world)) / world
    assert reports[0]["bias gradient"] == [pytest.approx(mean)]


def test_passes_apart_stay_with_the_rank_until_the_next_one_averages_the_sum(reports: list[dict[str, Any]]) -> None:
    world = len(reports)
    assert reports[0]["own share of the gradient apart"] == 1.0
    mean = sum(2.0 * (number + 1) for number in range(world)) / world
    assert reports[0]["gradient of both passes"] == [pytest.approx(mean + 20.0)]


def test_running_statistics_become_those_of_rank_0(reports: list[dict[str, Any]]) -> None:
    assert reports[0]["running mean"] == [5.0] * 3
