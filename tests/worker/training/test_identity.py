"""Which specs may go on from one another's checkpoints."""

from typing import Any

import pytest

from app.contract.job import JobSpec
from worker.training import identity

FULL = JobSpec.examples[1]


def of(**changes: Any) -> str:
    return identity.of_spec(JobSpec.model_validate({**FULL, **changes}))


def test_what_is_computed_is_part_of_it() -> None:
    training = FULL["training"]
    others = [
        of(training=training | {"seed": 1}),
        of(training=training | {"epochs": 21}),
        of(training=training | {"optimizer": {"kind": "sgd", "learning_rate": 0.003, "weight_decay": 0.05}}),
        of(augment=FULL["augment"][:2]),
        of(augment=[{"kind": "center_crop", "size": [32, 32]}]),
        of(augment=[{"kind": "resize", "size": [32, 32]}]),
        of(compression=[]),
        of(baseline={"kind": "none"}, gates={}),
        of(model={"kind": "timm", "name": "resnet18"}),
        of(evaluation=[{"kind": "resize", "size": [32, 32]}]),
    ]
    assert len({of(), *others}) == 1 + len(others)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"labels": {}},
        {"priority": 7},
        {"distributed": {"kind": "single"}},
        {"limits": {"max_duration_s": 100}},
        {"gates": {}},
        {"export": ["onnx"]},
        {"evaluation": [{"kind": "resize", "size": [32, 32], "fit": "cover"}]},
    ],
)
def test_what_changes_no_number_is_not(changes: dict[str, Any]) -> None:
    assert of(**changes) == of()


def test_what_is_at_its_default_need_not_be_said() -> None:
    augment = [each | {"probability": 1.0} if each["kind"] == "random_rotate" else each for each in FULL["augment"]]
    assert of(augment=augment) == of()
    spec = JobSpec.model_validate(FULL)
    assert identity.of_spec(spec.resolved()) == identity.of_spec(spec)


def test_a_spec_stored_before_there_was_a_choice_of_init_is_still_the_same() -> None:
    old = {"kind": "depthwise_separable", "activation": "relu", "include_stem": False, "exclude": []}
    now = of(compression=[{"kind": "depthwise_separable"}])
    assert of(compression=[old]) == now
    assert of(compression=[old | {"rank": 2}]) != now


def test_it_is_the_same_in_every_version() -> None:
    """Checkpoints that lie somewhere were made with this one."""
    assert of() == "b0e5cae7bad240a59b040ca4208020455db68d7457cc60693b6af2e7e369f0f2"
