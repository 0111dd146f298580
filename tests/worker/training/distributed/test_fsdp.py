"""What ranks that divide the weights keep and exchange, on two processes."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from app.contract.distributed import Fsdp
from tests.support.ranks import together
from worker.training import gradients, parts, whole
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.blocks import blocks_of
from worker.training.distributed import Ranks, Seat
from worker.training.distributed.fsdp import build
from worker.training.distributed.single import SingleRank

pytestmark = pytest.mark.timeout(400)  # two interpreters begin, and the machine may be busy

CPU = torch.device("cpu")
WORLD = 2


def made() -> nn.Module:
    with seeded(3, "network"):
        return assemble(Architecture(name="test_resnet", channels=3, outputs=10)).train()


def images(rank: int) -> torch.Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(rank))


def backward(network: nn.Module, rank: int) -> None:
    torch.autograd.backward(network(images(rank)).square().mean())


def full(tensor: Any) -> torch.Tensor:
    return (tensor.full_tensor() if parts.own(tensor) is not tensor else tensor).detach()


def difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """The largest."""
    return max(float((full(one) - other).abs().max()) for one, other in zip(ours, theirs, strict=True))


def alone(network: nn.Module) -> nn.Module:
    """A copy in one process, with the mean of what both ranks' images give."""
    network = copy.deepcopy(network)
    for rank in range(WORLD):
        backward(network, rank)
    for weight in network.parameters():
        assert weight.grad is not None
        weight.grad /= WORLD
    return network


def keeps_rows(ranks: Ranks) -> dict[str, Any]:
    """Between passes; inside one, the whole of what is computed."""
    network, seen = made(), list[tuple[int, int]]()
    ranks.place(network)
    kept = parts.counts(network)
    block = next(iter(blocks_of(network).values()))
    block.register_forward_hook(lambda module, *_: seen.append(parts.counts(module)))
    backward(network, ranks.rank)
    grown = sum(parts.own(weight.grad).numel() for weight in network.parameters() if weight.grad is not None)
    return {"kept": kept, "inside": seen[0][0] == seen[0][1], "between": parts.counts(network), "gradients": grown}


def averages(ranks: Ranks) -> dict[str, Any]:
    """Gradients, and the norm that they are clipped by; in fp32, where gloo takes an average for a sum."""
    network = made()
    expected = alone(network)
    ranks.place(network)
    backward(network, ranks.rank)
    found = [weight.grad for weight in network.parameters() if weight.grad is not None]
    wanted = [weight.grad for weight in expected.parameters() if weight.grad is not None]
    apart = difference(found, wanted)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    ours, theirs = (torch.optim.SGD(each.parameters(), 0.1) for each in (network, expected))
    (norm,) = gradients.finished(ranks.divided(ours), scaler, 0.01)
    (wanted_norm,) = gradients.finished(theirs, scaler, 0.01)
    return {"apart": apart, "norms": [norm.item(), wanted_norm.item()], "clipped apart": difference(found, wanted)}


def overflows(ranks: Ranks) -> dict[str, Any]:
    """Gradients that are no numbers on one rank alone: the step is left out on both, and moments stay at rest."""
    network = made()
    ranks.place(network)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, fused=True)
    for weight in network.parameters():
        optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    optimizer = ranks.divided(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = [full(weight).clone() for weight in network.parameters()]
    moved = []
    for broken in (True, False):
        optimizer.zero_grad()
        torch.autograd.backward(scaler.scale(network(images(ranks.rank)).square().mean()))
        if broken and ranks.rank == 1:
            parts.own(next(iter(network.parameters())).grad).fill_(float("inf"))
        scaler.step(optimizer)
        scaler.update()
        moved.append(difference(list(network.parameters()), before))
    return {"moved": moved, "scale": scaler.get_scale()}


def lets_go(ranks: Ranks) -> dict[str, Any]:
    """What is kept for a backward pass is not kept where there is none."""
    network = made()
    ranks.place(network)
    counts = []
    with torch.no_grad(), ranks.evaluating(network):
        network(images(0))
        counts.append(parts.counts(network)[0])
    out = network(images(0))
    counts.append(parts.counts(network)[0])
    torch.autograd.backward(out.sum())
    return {"counts": [*counts, parts.counts(network)[0]], "whole": parts.counts(network)[1]}


def comes_whole(ranks: Ranks) -> dict[str, Any]:
    """On rank 0 alone."""
    network = made()
    wanted = copy.deepcopy(network)
    ranks.place(network)
    found = whole.on_host(network, ranks)
    if found is None:
        return {"same": None}
    pairs = zip(found.state_dict().items(), wanted.state_dict().items(), strict=True)
    same = all(ours == theirs and torch.equal(one, other) for (ours, one), (theirs, other) in pairs)
    return {"same": same, "plain": type(found) is type(wanted), "scores": found(images(0)).shape == (4, 10)}


def is_given_rows(ranks: Ranks) -> dict[str, Any]:
    """Of a whole tensor as it was saved, and of no more memory than they take."""
    network = made()
    saved = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ranks.place(network)
    pairs = [(parts.kept(saved[name], tensor), parts.own(tensor)) for name, tensor in network.state_dict().items()]
    sizes = [given.untyped_storage().nbytes() == given.numel() * given.element_size() for given, _ in pairs]
    return {"same": all(torch.equal(given, rows) for given, rows in pairs), "small": all(sizes)}


CHECKS = [keeps_rows, averages, overflows, lets_go, is_given_rows, comes_whole]


def checked(ranks: Ranks) -> dict[str, Any]:
    return {check.__name__: check(ranks) for check in CHECKS}


@pytest.fixture(scope="module")
def reports() -> list[dict[str, Any]]:
    return together(Fsdp(processes=WORLD, reshard_after_forward=False), checked)


def of(reports: list[dict[str, Any]], check: Any) -> list[dict[str, Any]]:
    return [report[check.__name__] for report in reports]


def test_each_rank_keeps_its_rows_and_has_a_block_whole_while_it_is_computed(reports: list[dict[str, Any]]) -> None:
    found = of(reports, keeps_rows)
    everything = sum(weight.numel() for weight in made().parameters())
    assert sum(each["kept"][0] for each in found) == everything
    assert all(each["kept"][1] == everything for each in found)
    assert max(each["kept"][0] for each in found) < 0.51 * everything
    assert all(each["inside"] for each in found)
    assert [each["between"] for each in found] == [each["kept"] for each in found]
    assert [each["gradients"] for each in found] == [each["kept"][0] for each in found]


def test_gradients_are_averages_and_clipped_by_the_norm_of_all(reports: list[dict[str, Any]]) -> None:
    for each in of(reports, averages):
        assert each["apart"] < 1e-6
        assert each["norms"][0] == pytest.approx(each["norms"][1], rel=1e-5)
        assert each["norms"][0] > 0.01, "or nothing was clipped"
        assert each["clipped apart"] < 1e-7


def test_an_overflow_on_one_rank_leaves_the_step_out_on_all(reports: list[dict[str, Any]]) -> None:
    for each in of(reports, overflows):
        assert each["moved"][0] == 0
        assert each["moved"][1] > 0
        assert each["scale"] == 4.0


def test_weights_are_kept_for_the_backward_pass_alone(reports: list[dict[str, Any]]) -> None:
    for each in of(reports, lets_go):
        scored, between, after = each["counts"]
        assert between == each["whole"]
        assert scored == after < 0.51 * each["whole"]


def test_a_rank_is_given_its_rows_of_what_was_saved_whole(reports: list[dict[str, Any]]) -> None:
    assert of(reports, is_given_rows) == [{"same": True, "small": True}] * WORLD


def test_the_whole_network_comes_out_on_rank_0(reports: list[dict[str, Any]]) -> None:
    first, second = of(reports, comes_whole)
    assert first == {"same": True, "plain": True, "scores": True}
    assert second == {"same": None}


def test_one_process_has_nothing_to_divide() -> None:
    ranks = build(Fsdp(processes=1), Seat(0, 1, CPU))
    assert isinstance(ranks, SingleRank)
    assert not ranks.sharded
