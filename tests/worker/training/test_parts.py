"""What ranks divide, as it is written and read again; no tensor here is divided, for that takes several processes."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from worker.training import parts
from worker.training.parts import Pieces

ROWS = torch.arange(14.0).reshape(7, 2)


def tree() -> dict[str, Any]:
    return {
        "model": {"weight": ROWS, "count": torch.tensor(3)},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0), "mean": ROWS + 1}}, "param_groups": [{"lr": 0.1}]},
    }


PLACES = [("model", "weight"), ("optimizer", "state", 0, "mean")]


def cut(whole: dict[str, Any], places: list[parts.Place], first: int, after: int) -> dict[str, Any]:
    """The tree of one rank."""
    _, part = parts.split(whole, places)
    found: dict[str, Any] = each(part, first, after)
    return found


def each(value: Any, first: int, after: int) -> Any:
    if isinstance(value, Tensor):
        return value[first:after]
    return {key: each(inner, first, after) for key, inner in value.items()}


def test_what_is_split_and_joined_is_as_it_was() -> None:
    rest, part = parts.split(tree(), PLACES)
    assert list(rest["model"]) == ["count"]
    assert list(rest["optimizer"]["state"][0]) == ["step"]
    assert rest["optimizer"]["param_groups"] == [{"lr": 0.1}]
    assert torch.equal(part["optimizer"]["state"][0]["mean"], ROWS + 1)
    ranks = [cut(tree(), PLACES, *ends) for ends in ((0, 3), (3, 6), (6, 7), (7, 7))]
    found = parts.whole(parts.joined(rest, ranks))
    assert torch.equal(found["model"]["weight"], ROWS)
    assert torch.equal(found["optimizer"]["state"][0]["mean"], ROWS + 1)
    assert found["model"]["count"] == 3


@pytest.mark.parametrize("ends", [[0, 3, 6, 7, 7], [0, 7], [0, 0, 7], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_any_rows_come_out_of_pieces_of_any_size(ends: list[int]) -> None:
    pieces = Pieces(tuple(ROWS[first:after] for first, after in pairwise(ends)))
    for first in range(8):
        for count in range(8 - first):
            assert torch.equal(pieces.rows(first, count), ROWS[first : first + count])
    assert torch.equal(pieces.whole(), ROWS)


def test_files_of_ranks_lie_beside_the_rest_in_any_number(tmp_path: Path) -> None:
    rest, _ = parts.split(tree(), PLACES)
    assert parts.with_files(dict(rest), tmp_path) == rest
    ends = list(zip(range(12), range(1, 13), strict=True))
    for rank, (first, after) in enumerate(ends):  # as text, 10 would come before 2
        torch.save(cut(tree(), PLACES, first, after), tmp_path / parts.file_name(rank))
    found = parts.with_files(rest, tmp_path)
    assert isinstance(found["model"]["weight"], Pieces)
    assert torch.equal(parts.whole(found)["model"]["weight"], ROWS)


def test_moments_of_rows_are_laid_out_as_whole_weights() -> None:
    """Pixel by pixel, where weights are: a fused optimizer would else give each weight another's moment."""
    layer = nn.Conv2d(3, 4, 2, bias=False).to(memory_format=torch.channels_last)
    moments = torch.arange(48.0).reshape(4, 3, 2, 2)
    saved = {
        "state": {0: {"step": torch.tensor(2.0), "exp_avg": Pieces((moments[:3], moments[3:]))}},
        "param_groups": [],
    }
    found = parts.whole_moments(saved, layer.parameters())["state"][0]
    assert torch.equal(found["exp_avg"], moments)
    assert found["exp_avg"].stride() == layer.weight.stride() != moments.stride()
    assert not found["exp_avg"].requires_grad
    assert found["step"] == 2


def test_a_network_that_nobody_divides_is_its_own() -> None:
    network, other = nn.Linear(3, 2), nn.Linear(3, 2)
    assert parts.counts(network) == (8, 8)
    assert parts.divided({"model": network.state_dict()}) == []
    assert all(parts.own(each) is each for each in network.parameters())
    parts.put(other, parts.owned(network.state_dict()))
    parts.fill(network.bias, Pieces((torch.ones(1), torch.zeros(1))))
    assert torch.equal(other.weight, network.weight)
    assert network.bias.tolist() == [1.0, 0.0]
