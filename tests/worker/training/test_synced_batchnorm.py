"""Batch normalisation over several ranks, which are threads here, against torch's over one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.contract.distributed import Ddp, Single
from worker.training.attached import Attached
from worker.training.distributed.single import SingleRank
from worker.training.errors import RunFailure
from worker.training.libraries import BatchNormAct2d
from worker.training.synced_batchnorm import NAME, hang

SYNCED = Ddp(processes=2, sync_batchnorm=True)


@dataclass
class Table:
    """Where threads lay down what they tell one another."""

    world: int
    barrier: Barrier = field(init=False)
    places: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = Barrier(self.world)

    def exchange(self, rank: int, values: Tensor) -> Tensor:
        self.places[rank] = values.clone()
        self.barrier.wait(60)
        found = torch.stack([self.places[each] for each in range(self.world)])
        self.barrier.wait(60)
        return found


class ThreadRank(SingleRank):
    """One of several, of which only what batch normalisation asks for is there."""

    def __init__(self, table: Table, rank: int) -> None:
        super().__init__(torch.device("cpu"), rank, table.world)
        self.table = table

    def total(self, values: Tensor) -> Tensor:
        return self.table.exchange(self.rank, values).sum(0)

    def rows(self, values_K: Tensor) -> Tensor:
        return self.table.exchange(self.rank, values_K)


@dataclass(frozen=True)
class Pass:
    """What came of a forward and a backward pass."""

    scores: Tensor
    of_images: Tensor
    of_weights: list[Tensor]
    buffers: dict[str, Tensor]


def attached(network: nn.Module, ranks: SingleRank) -> Attached:
    return hang(network, SYNCED, ranks)[NAME]


def passed(network: nn.Module, images: Tensor, targets: Tensor, weight: float = 1.0) -> Pass:
    images = images.clone().requires_grad_()
    scores = network(images)
    ((scores.flatten(1).sum(1) - targets).square().sum() * weight).backward()
    gradients = [each.grad for each in network.parameters()]
    return Pass(scores.detach(), images.grad, gradients, {n: b.clone() for n, b in network.named_buffers()})


def on_ranks(
    make: Callable[[], nn.Module], parts: list[Tensor], targets: list[Tensor], stands_in: int = 0
) -> list[Pass]:
    """Each rank with its part; the last `stands_in` ranks take the first one's, which do not count."""
    table = Table(len(parts))

    def work(rank: int) -> Pass:
        network, counts = make(), rank < len(parts) - stands_in
        synced = attached(network, ThreadRank(table, rank))
        synced.begin_pass(counts)
        return passed(network, parts[rank], targets[rank], float(counts))

    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(work, range(len(parts))))


def seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Networks of the same random weights and running statistics."""
    state = make().double().state_dict()
    generator = torch.Generator().manual_seed(1)
    drawn = {n: torch.rand(t.shape, generator=generator).to(t) + 0.5 for n, t in state.items() if t.is_floating_point()}

    def same() -> nn.Module:
        network = make().double()
        network.load_state_dict(state | drawn)
        return network.train()

    return same


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "2d": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU()), (3, 6, 5)),
    "1d": (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh()), (3,)),
    "with its activation inside": (lambda: nn.Sequential(BatchNormAct2d(3, act_layer=nn.SiLU)), (3, 4, 4)),
    "no weights": (lambda: nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5, affine=False)), (3, 2, 2)),
    "cumulative": (lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, momentum=None)), (3, 2, 2)),
    "two": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), (3, 3, 3)),
}


@pytest.mark.parametrize("sizes", [(4, 4), (5, 1), (3, 2, 4), (3, 3, 2)])
@pytest.mark.parametrize("kind", LAYERS)
def test_ranks_with_parts_of_a_batch_compute_what_one_rank_computes_with_all_of_it(
    kind: str, sizes: tuple[int, ...]
) -> None:
    make, shape = seeded(LAYERS[kind][0]), LAYERS[kind][1]
    images = torch.randn(sum(sizes), *shape, dtype=torch.float64) * 3 + 10
    targets = torch.randn(sum(sizes), dtype=torch.float64)
    whole = passed(make(), images, targets)
    parts = on_ranks(make, list(images.split(sizes)), list(targets.split(sizes)))
    assert_same(whole, parts)


def assert_same(whole: Pass, parts: list[Pass]) -> None:
    exactly = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(torch.cat([part.scores for part in parts]), whole.scores, **exactly)
    torch.testing.assert_close(torch.cat([part.of_images for part in parts]), whole.of_images, **exactly)
    summed = [torch.stack(each).sum(0) for each in zip(*(part.of_weights for part in parts), strict=True)]
    torch.testing.assert_close(summed, whole.of_weights, **exactly)
    for part in parts:
        torch.testing.assert_close(part.buffers, whole.buffers, **exactly)


def test_a_rank_that_only_keeps_company_has_no_part_in_statistics_or_gradients() -> None:
    make = seeded(LAYERS["two"][0])
    images, targets = torch.randn(5, 3, 3, 3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    whole = passed(make(), images, targets)
    first, second, idle = on_ranks(
        make, [images[:3], images[3:], images[:3]], [targets[:3], targets[3:], targets[:3]], 1
    )
    torch.testing.assert_close(idle.buffers, whole.buffers, rtol=1e-12, atol=1e-12)
    assert all(not gradient.any() for gradient in idle.of_weights)
    assert_same(whole, [first, second])


def test_gradients_are_those_of_the_definition() -> None:
    layer = nn.BatchNorm1d(3).double()
    attached(layer, SingleRank(torch.device("cpu")))
    assert torch.autograd.gradcheck(layer, (torch.randn(6, 3, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_normalised_as_torch_does(dtype: torch.dtype) -> None:
    """Autocast gives activations of 16 bits to layers whose weights have 32."""
    images = torch.randn(8, 4, 5, 5).to(dtype)
    ours, theirs = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    attached(ours, SingleRank(torch.device("cpu")))
    found, wanted = (passed(layer, images, torch.zeros(8, dtype=dtype)) for layer in (ours, theirs))
    assert found.scores.dtype == dtype
    torch.testing.assert_close(found.scores, wanted.scores)
    torch.testing.assert_close(found.of_images, wanted.of_images, rtol=0.05, atol=0.1)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-4, atol=1e-4)


def test_evaluation_asks_nobody_and_nothing_is_left_behind() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    before = {name: dict(module.__dict__) for name, module in network.named_modules()}
    hung = attached(network, ThreadRank(Table(2), 0))  # the other rank never comes
    images = torch.randn(2, 3, 4, 4)
    seen = network.eval()(images)
    hung.detach()
    assert torch.equal(network(images), seen)
    network.train()
    assert {name: dict(module.__dict__) for name, module in network.named_modules()} == before


def test_it_is_there_only_where_the_spec_asks_for_it() -> None:
    network, rank = nn.BatchNorm1d(2), SingleRank(torch.device("cpu"))
    assert hang(network, Single(), rank) == {}
    assert hang(network, Ddp(), rank) == {}


def test_a_layer_that_normalises_in_its_own_way_is_refused_with_the_field() -> None:
    class Own(nn.BatchNorm2d):
        def forward(self, images: Tensor) -> Any:
            return images

    with pytest.raises(RunFailure) as refused:
        attached(Own(3), SingleRank(torch.device("cpu")))
    assert [each.pointer for each in refused.value.failure.errors] == ["/distributed/sync_batchnorm"]
