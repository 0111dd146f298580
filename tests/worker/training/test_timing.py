"""Latencies: enough runs, the same number for all, and nothing that takes minutes."""

import torch
from torch import nn

from worker.training import timing, turns


class Counting(nn.Conv2d):
    """A network that remembers who ran when."""

    def __init__(self, name, order):
        super().__init__(3, 4, 1)
        self.name, self.order = name, order

    def forward(self, images):
        self.order.append((self.name, len(images)))
        return super().forward(images)


def test_the_networks_take_turns_run_by_run():
    order = []
    found = timing.interleaved({name: Counting(name, order) for name in ("a", "b")}, 3, (4, 4))
    assert {size for _, size in order} == {1, 32}
    assert [name for name, _ in order] == ["a", "b"] * (len(order) // 2)
    for latencies in found.values():
        assert [each.batch_size for each in latencies] == [1, 32]
        assert all(timing.FEWEST_RUNS <= each.runs <= timing.MOST_RUNS for each in latencies)
        assert all(0 < each.p50_s <= each.p95_s for each in latencies)


def test_a_large_batch_that_would_take_too_long_is_left_out(monkeypatch):
    monkeypatch.setattr(turns, "LONGEST_S", 0.0)
    network = nn.Conv2d(3, 4, 1).to(torch.float64)
    found = timing.interleaved({"only": network}, 3, (4, 4))
    assert [each.batch_size for each in found["only"]] == [1]
