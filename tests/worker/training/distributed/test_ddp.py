from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from app.contract.distributed import Ddp
from tests.support.ranks import LONGEST_S, context, store
from worker.training.distributed import Seat
from worker.training.distributed._compressed import FIRST_STEPS
from worker.training.distributed.ddp import build

CPU = torch.device("cpu")


def leave_no_group(port: int) -> None:
    spec = Ddp(processes=1, bucket_mb=3, static_graph=True, timeout_s=77)
    ranks = build(spec, Seat(0, 1, CPU, port))
    group: Any = dist.group.WORLD
    assert group._get_backend(CPU).options._timeout == timedelta(seconds=77)
    wrapped = ranks.wrap(nn.Linear(1, 1))
    assert isinstance(wrapped, DistributedDataParallel)
    assert not wrapped.will_sync_module_buffers()
    assert wrapped.bucket_bytes_cap == 3 << 20
    assert wrapped.static_graph
    ranks.close()
    assert not dist.is_initialized()


def go_on(port: int) -> None:
    """Of two networks with the same weights, one is trained throughout, the other from what the first one remembers."""
    ranks = build(Ddp(processes=1, gradient_compression="powersgd"), Seat(0, 1, CPU, port))

    def begun() -> tuple[nn.Module, nn.Module]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(40, 60), nn.Tanh(), nn.Linear(60, 30))
        wrapped = ranks.wrap(network)
        gradients(network, wrapped, 0)  # as every run settles
        return network, wrapped

    def gradients(network: nn.Module, wrapped: nn.Module, step: int) -> list[torch.Tensor]:
        network.zero_grad()
        images = torch.randn(16, 40, generator=torch.Generator().manual_seed(step))
        torch.autograd.backward(wrapped(images).square().sum())
        return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]

    whole = begun()
    for step in range(1, FIRST_STEPS + 3):
        gradients(*whole, step)
    memory = deepcopy(ranks.memory())
    assert memory["step"] > FIRST_STEPS
    assert any(left_out.any() for left_out in memory["left_out"].values())
    expected = [gradients(*whole, step) for step in (20, 21)]

    rest = begun()
    assert ranks.memory()["step"] == 1
    ranks.recall(memory | {"bucket_mb": 1})
    assert ranks.memory()["step"] == 1, "buckets of another size"
    ranks.recall(memory)
    for step, wanted in zip((20, 21), expected, strict=True):
        found = gradients(*rest, step)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))
    ranks.close()


@pytest.mark.parametrize("body", [leave_no_group, go_on])
def test_one_process_may_be_a_group_which_does_what_its_spec_says(body: Callable[[int], None]) -> None:
    with store() as port:
        process = context().Process(target=body, args=(port,))
        process.start()
        process.join(LONGEST_S)
    assert process.exitcode == 0
