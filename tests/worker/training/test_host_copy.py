"""Copies for checkpoints: apart from the original, in the same memory each time, and kept where one is to last."""

from typing import Any

import torch

from worker.training.host_copy import HostCopy


def state(value: float) -> dict[str, Any]:
    weight = torch.full((2, 3, 4, 4), value).to(memory_format=torch.channels_last)
    return {
        "model": {"weight": weight},
        "optimizer": {"state": {0: {"step": torch.tensor(value)}}, "groups": [(1, "a")]},
    }


def test_a_copy_is_whole_and_shares_nothing_with_what_goes_on() -> None:
    original = state(1)
    copied = HostCopy().of(original)
    original["model"]["weight"].add_(1)
    original["optimizer"]["state"][0]["step"].add_(1)
    assert copied["optimizer"]["groups"] == [(1, "a")]
    assert torch.equal(copied["model"]["weight"], state(1)["model"]["weight"])
    assert copied["model"]["weight"].is_contiguous(memory_format=torch.channels_last)
    assert copied["optimizer"]["state"][0]["step"] == 1


def test_the_next_copy_is_made_in_the_same_memory_unless_the_tensor_has_another_form() -> None:
    copies = HostCopy()
    places = [copies.of(state(value))["model"]["weight"].data_ptr() for value in (1, 2)]
    assert places[0] == places[1]
    smaller = {"model": {"weight": torch.zeros(2, 3)}}
    assert torch.equal(copies.of(smaller)["model"]["weight"], torch.zeros(2, 3))
    plain = state(3)
    plain["model"]["weight"] = plain["model"]["weight"].contiguous()
    assert copies.of(plain)["model"]["weight"].is_contiguous()


def test_a_part_that_is_given_away_lasts_and_its_successor_uses_the_memory_of_its_predecessor() -> None:
    copies, best = HostCopy(), None
    seen = []
    for value in (1, 2, 3):
        copied = copies.of(state(value))
        copies.give_away("model", in_return=best)
        best = copied["model"]
        seen.append(best["weight"].data_ptr())
        again = copies.of(state(-1))
        assert best["weight"].unique().item() == value
        assert again["model"]["weight"].unique().item() == -1
    assert len(set(seen)) == 2
