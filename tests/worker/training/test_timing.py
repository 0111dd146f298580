"""Latencies: enough runs, the same number for all, and nothing that takes minutes."""

import pytest
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


@pytest.mark.parametrize(("longest_s", "sizes"), [(60.0, [1, 32]), (0.0, [1])])
def test_a_large_batch_that_is_slow_is_run_less_often_and_left_out_only_when_it_would_take_minutes(
    monkeypatch, longest_s, sizes
):
    monkeypatch.setattr(turns, "PATIENCE_S", 0.0)
    monkeypatch.setattr(turns, "BUDGET_S", {1: 0.3, 32: 0.0})
    monkeypatch.setattr(turns, "LONGEST_S", longest_s)
    network = nn.Conv2d(3, 4, 1).to(torch.float64)
    found = timing.interleaved({"only": network}, 3, (4, 4))
    assert [each.batch_size for each in found["only"]] == sizes
    assert [each.runs for each in found["only"][1:]] == [timing.FEWEST_SLOW] * (len(sizes) - 1)


class Small(nn.Conv2d):
    """A network on a device that has room for one image."""

    def forward(self, images):
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(images)


def test_a_large_batch_that_does_not_fit_into_memory_is_left_out_for_all():
    found = timing.interleaved({"large": nn.Conv2d(3, 4, 1), "small": Small(3, 4, 1)}, 3, (4, 4))
    assert {name: [each.batch_size for each in latencies] for name, latencies in found.items()} == {
        "large": [1],
        "small": [1],
    }
