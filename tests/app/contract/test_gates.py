"""Gates as they are read: what cannot be measured, or is no limit, is refused where it stands."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.gates import Gates
from app.contract.job import JobSpec

SMALL: dict[str, Any] = JobSpec.examples[0]


def refusals(**changes: Any) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(SMALL | changes)
    return {error["loc"]: error["type"] for error in caught.value.errors()}


def test_a_drop_of_accuracy_needs_an_accuracy_before() -> None:
    gates = {"max_accuracy_drop": 0.02}
    assert refusals(gates=gates) == {("gates", "max_accuracy_drop"): "not_measured"}
    for baseline in ({"kind": "train"}, {"kind": "job", "job": "job_1"}):
        assert JobSpec.model_validate(SMALL | {"gates": gates, "baseline": baseline}).gates.max_accuracy_drop == 0.02


@pytest.mark.parametrize("baseline", [{"kind": "none"}, {"kind": "train"}])
def test_every_other_gate_is_measured_with_any_baseline(baseline: dict[str, str]) -> None:
    others = {name: 1 for name in Gates.model_fields if name != "max_accuracy_drop"}
    spec = JobSpec.model_validate(SMALL | {"gates": others, "baseline": baseline})
    assert dict(spec.gates.limits()) == others


@pytest.mark.parametrize("name", list(Gates.model_fields))
@pytest.mark.parametrize("limit", [-0.1, -1, math.nan, math.inf, 1e300, 2**60, "1", True, [1]])
def test_what_is_no_limit_is_refused(name: str, limit: Any) -> None:
    assert set(refusals(gates={name: limit}, baseline={"kind": "train"})) == {("gates", name)}


def test_a_gate_that_is_misspelt_is_not_ignored() -> None:
    assert refusals(gates={"max_acuracy_drop": 0.1}) == {("gates", "max_acuracy_drop"): "extra_forbidden"}


def test_without_gates_nothing_is_judged() -> None:
    assert list(JobSpec.model_validate(SMALL).gates.limits()) == []
