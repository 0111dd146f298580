"""Pruning during training: when its steps are, and the specs in which they cannot be."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.compression import ChannelPruning
from app.contract.job import JobSpec


def refusals(epochs: int, *methods: dict[str, Any]) -> dict[tuple[str | int, ...], str]:
    body = {**copy.deepcopy(JobSpec.examples[0]), "training": {"epochs": epochs}, "compression": list(methods)}
    try:
        JobSpec.model_validate(body)
    except ValidationError as refused:
        return {error["loc"]: error["type"] for error in refused.errors()}
    return {}


def gradual(steps: int, until: float = 0.5) -> dict[str, Any]:
    return {"kind": "channel_pruning", "steps": steps, "until": until}


@pytest.mark.parametrize(
    ("steps", "until", "epochs", "ends"),
    [
        (1, 0.5, 10, ()),
        (2, 0.5, 4, (1, 2)),
        (3, 0.5, 10, (1, 3, 5)),
        (7, 0.7, 10, (1, 2, 3, 4, 5, 6, 7)),
        (2, 0.99999, 10, (5, 9)),
    ],
)
def test_steps_are_spread_over_the_first_part_of_the_epochs_and_never_after_the_last(
    steps: int, until: float, epochs: int, ends: tuple[int, ...]
) -> None:
    assert ChannelPruning(steps=steps, until=until).epochs(epochs) == ends


def test_each_step_needs_an_epoch_of_its_own() -> None:
    assert refusals(10, gradual(5)) == {}
    assert refusals(9, gradual(5)) == {("compression", 0, "steps"): "too_few_epochs"}
    assert refusals(1, gradual(2)) == {("compression", 0, "steps"): "too_few_epochs"}


def test_nothing_that_changes_the_network_may_follow_pruning_during_training() -> None:
    split, once = {"kind": "depthwise_separable"}, {"kind": "channel_pruning"}
    assert refusals(10, split, once, gradual(2)) == {}
    assert refusals(10, once, split) == {}
    assert refusals(10, gradual(2), split) == {("compression", 1): "after_gradual_pruning"}
    assert refusals(10, gradual(2), once) == {("compression", 1): "after_gradual_pruning"}


@pytest.mark.parametrize("field", [{"ratio": 1.0}, {"ratio": 101}, {"steps": 0}, {"until": 1.0}, {"round_to": 0}])
def test_values_without_a_meaning_are_refused(field: dict[str, Any]) -> None:
    assert list(refusals(10, {"kind": "channel_pruning", **field})) == [
        ("compression", 0, "channel_pruning", next(iter(field)))
    ]
