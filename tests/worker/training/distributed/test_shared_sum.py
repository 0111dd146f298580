"""Ranks that are processes of their own, and what DDP makes of their gradients in memory that they share."""

import gc
import hashlib
import logging
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from app.contract.distributed import Ddp
from tests.support.ranks import LONGEST_S, context, store, together
from worker.training import causes
from worker.training.distributed import Ranks, Seat, _shared_memory, _shared_sum, connect

CPU = torch.device("cpu")
STEPS = 4
EXPECTED_CODE = 7


class Typed(nn.Module):
    """Layers of one type."""

    def __init__(self, kind: torch.dtype, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(300, 300, dtype=kind) for _ in range(layers)))
        self.kind = kind

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(images.to(self.kind))
        return found.tanh()


def network() -> nn.Module:
    """With gradients of four types; those in fp64 take several buckets of 1 MiB."""
    torch.manual_seed(0)
    return nn.Sequential(
        Typed(torch.float64, 6), Typed(torch.float32, 2), Typed(torch.bfloat16, 1), Typed(torch.float16, 1)
    )


def shared_maps() -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:gradients" in line]


def gradients(wrapped: nn.Module, rank: int) -> list[list[torch.Tensor]]:
    """Of each step; in the second, another pass comes before."""
    assert isinstance(wrapped, DistributedDataParallel)
    found = []
    for step in range(STEPS):
        wrapped.zero_grad()
        torch.manual_seed(100 * step + rank)
        for apart in (True, False) if step == 1 else (False,):
            with wrapped.no_sync() if apart else nullcontext():
                wrapped(torch.randn(8, 300)).double().square().sum().backward()
        found.append([weight.grad.clone() for weight in wrapped.parameters() if weight.grad is not None])
    return found


def bits(steps: list[list[torch.Tensor]]) -> list[str]:
    """What the gradients of each step are to the last bit."""
    return [
        hashlib.sha256(b"".join(each.view(torch.uint8).numpy().tobytes() for each in weights)).hexdigest()
        for weights in steps
    ]


def errors(ours: list[list[torch.Tensor]], theirs: list[list[torch.Tensor]]) -> list[float]:
    """The largest of each step, in units of the last place of the largest gradient of a weight."""
    return [
        max(
            float((one - other).abs().max() / (torch.finfo(one.dtype).eps * other.abs().max()))
            for one, other in zip(*weights, strict=True)
        )
        for weights in zip(ours, theirs, strict=True)
    ]


def both(ranks: Ranks, static_graph: bool) -> dict[str, Any]:
    """The same steps with the sum in shared memory and with gloo's; then again with a network that is wrapped anew."""
    net = network()
    wrapped = ranks.wrap(deepcopy(net))
    maps = shared_maps()
    ours = gradients(wrapped, ranks.rank)
    data = wrapped._get_ddp_logging_data()  # type: ignore[operator]
    plain = DistributedDataParallel(net, gradient_as_bucket_view=True, bucket_cap_mb=1, static_graph=static_graph)
    theirs = gradients(plain, ranks.rank)
    del wrapped
    again = ranks.wrap(deepcopy(net))
    gc.collect()
    return {
        "bits": bits(ours),
        "bits_again": bits(gradients(again, ranks.rank)),
        "errors": errors(ours, theirs),
        "maps": maps,
        "maps_again": shared_maps(),
        "buckets": [data[f"{name}bucket_sizes"] for name in ("", "rebuilt_")],
    }


@pytest.mark.parametrize(("processes", "static_graph"), [(2, False), (3, True), (4, False)])
def test_gradients_are_the_average_of_gloo_and_the_same_bits_on_every_rank(processes: int, static_graph: bool) -> None:
    spec = Ddp(processes=processes, bucket_mb=1, static_graph=static_graph)
    found = together(spec, partial(both, static_graph=static_graph))
    first, rebuilt = found[0]["buckets"]
    assert len(rebuilt.split(",")) > 4, "or nothing is in several buckets"
    assert first != rebuilt
    assert len(set(found[0]["bits"])) == STEPS
    for rank in found:
        assert max(rank["errors"]) <= 4
        assert rank["bits"] == rank["bits_again"] == found[0]["bits"]
        assert len(rank["maps"]) == 1
        assert "(deleted)" in rank["maps"][0], "it has no name that would stay"
        assert len(rank["maps_again"]) == 1, "what an earlier network used is given back"


class Late:
    """A sum whose end is heard of late."""

    def __init__(self, work: dist.Work) -> None:
        self._work = work

    def get_future(self) -> torch.futures.Future[Any]:
        def wait(told: torch.futures.Future[Any]) -> Any:
            time.sleep(0.02)
            return told.value()

        return self._work.get_future().then(wait)


def hurried(ranks: Ranks) -> dict[str, Any]:
    """Gradients that are known, and a rank that reads them long after the others."""
    if ranks.rank == 1:
        whole = dist.all_reduce
        dist.all_reduce = lambda *arguments, **options: Late(whole(*arguments, **options))
    weights = nn.Linear(1, 300_000, bias=False)
    wrapped = ranks.wrap(weights)
    found = []
    for step in range(8):
        wrapped.zero_grad()
        (wrapped(torch.ones(1, 1)) * float((ranks.rank + 1) * 10**step)).sum().backward()
        assert weights.weight.grad is not None
        found.append(sorted(set(weights.weight.grad.flatten().tolist())))
    return {"found": found}


def test_a_rank_that_reads_late_reads_what_was_meant_for_it() -> None:
    for rank in together(Ddp(processes=2), hurried):
        assert rank["found"] == [[1.5 * 10**step] for step in range(8)]


@contextmanager
def no_more_files() -> Iterator[None]:
    """Nothing can be opened."""
    lowest = os.dup(0)
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lowest):
        yield


@contextmanager
def limited(which: int, value: int) -> Iterator[None]:
    before = resource.getrlimit(which)
    resource.setrlimit(which, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


REFUSALS: dict[str, tuple[int, Callable[[], Any]]] = {
    "no file may be so large": (0, lambda: limited(resource.RLIMIT_FSIZE, 1 << 16)),
    "nothing can be made": (0, no_more_files),
    "nothing can be opened": (1, no_more_files),
}


def refused(ranks: Ranks, why: str) -> dict[str, Any]:
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(_shared_memory.__name__).addHandler(handler)
    number, trouble = REFUSALS[why]
    weights = nn.Linear(1, 30_000, bias=False)
    with trouble() if ranks.rank == number else nullcontext():
        wrapped = ranks.wrap(weights)
    (wrapped(torch.ones(1, 1)) * float(ranks.rank + 1)).sum().backward()
    assert weights.weight.grad is not None
    return {"gradient": weights.weight.grad.unique().tolist(), "heard": heard, "maps": shared_maps()}


@pytest.mark.parametrize("why", REFUSALS)
def test_where_one_rank_cannot_share_all_take_gloo_and_the_log_says_why(why: str) -> None:
    found = together(Ddp(processes=2), partial(refused, why=why))
    assert [rank["gradient"] for rank in found] == [[1.5], [1.5]]
    assert [rank["maps"] for rank in found] == [[], []]
    (message,) = found[0]["heard"]
    assert f"rank {REFUSALS[why][0]}: [Errno" in message
    assert found[1]["heard"] == []


def test_another_process_of_the_same_number_is_not_taken_for_rank_0() -> None:
    own, offer = _shared_memory._made(4096)
    assert own is not None
    other = os.memfd_create("other")
    os.ftruncate(other, 4096)
    group: Any = SimpleNamespace(rank=0, world=1)
    found, trouble = _shared_memory._opened(offer, group, 4096)
    assert found is not None
    assert found.eq(0).all()
    assert trouble is None
    strange = offer | {"path": f"/proc/{os.getpid()}/fd/{other}"}
    found, trouble = _shared_memory._opened(strange, group, 4096)
    assert found is None
    assert "is not the memory of rank 0" in str(trouble)
    for each in (own, other):
        os.close(each)


def test_more_ranks_than_it_is_worth_for_take_gloo() -> None:
    group: Any = SimpleNamespace(rank=0, world=_shared_sum.MOST_RANKS + 1)
    assert _shared_sum.average(group, [torch.zeros(1)]) is None


def one(ranks: Ranks) -> dict[str, Any]:
    weights = nn.Linear(1, 5, bias=False)
    (ranks.wrap(weights)(torch.ones(1, 1)) * 3.0).sum().backward()
    assert weights.weight.grad is not None
    return {"gradient": weights.weight.grad.flatten().tolist(), "maps": shared_maps()}


def test_one_rank_has_its_own_gradients_and_shares_nothing() -> None:
    assert together(Ddp(processes=1), one) == [{"gradient": [3.0] * 5, "maps": []}]


def left_alone(port: int, how: int, rank: int) -> None:
    """The last rank writes its gradients and is gone; exits with `EXPECTED_CODE` where the others hear of it."""
    ranks = connect(Ddp(processes=3, timeout_s=5 if how == signal.SIGSTOP else 1800), Seat(rank, 3, CPU, port))
    wrapped = ranks.wrap(nn.Linear(300, 300))
    wrapped(torch.randn(4, 300)).sum().backward()
    if rank == 2:
        dist.all_reduce = lambda *_, **__: os.kill(os.getpid(), how)
    try:
        wrapped(torch.randn(4, 300)).sum().backward()
    except RuntimeError as error:
        print(error, flush=True)
        codes = {"crashed", "stalled"} if how == signal.SIGSTOP else {"crashed"}
        os._exit(EXPECTED_CODE if causes.explain(error).code in codes else 1)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_rank_that_is_gone_after_it_has_written_is_missed_by_the_others(how: int) -> None:
    with store() as port:
        ranks = [context().Process(target=left_alone, args=(port, how, rank)) for rank in range(3)]
        for process in ranks:
            process.start()
        for process in ranks[:2]:
            process.join(LONGEST_S)
        ranks[2].kill()
        ranks[2].join()
    assert [process.exitcode for process in ranks] == [EXPECTED_CODE, EXPECTED_CODE, -signal.SIGKILL]
