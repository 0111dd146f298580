"""Options of training: what is read, and which combinations are refused, where, and with which way out."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.job import JobSpec
from app.contract.options import EarlyStopping, Ema
from app.contract.training import Training

SMALL: dict[str, Any] = JobSpec.examples[0]


def refusals(training: dict[str, Any], compression: list[dict[str, Any]] | None = None) -> dict[tuple[Any, ...], str]:
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(SMALL | {"training": training, "compression": compression or []})
    return {error["loc"]: f"{error['type']}: {error['msg']}" for error in caught.value.errors()}


@pytest.mark.parametrize("body", Training.examples)
def test_every_example_is_a_part_of_a_job(body: dict[str, Any]) -> None:
    spec = JobSpec.model_validate(SMALL | {"training": body}).resolved()
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert body.items() <= json.loads(json.dumps(spec.training.model_dump(mode="json", exclude_unset=True))).items()


@pytest.mark.parametrize("part", [Ema, EarlyStopping])
def test_every_part_shows_an_example(part: type[Ema | EarlyStopping]) -> None:
    assert part.examples
    assert all(part.model_validate(example) for example in part.examples)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("max_gradient_norm", 0),
        ("ema", {"decay": 1.0}),
        ("ema", {"decay": 0.0}),
        ("ema", True),
        ("early_stopping", {"patience": 0}),
        ("early_stopping", {"metric": "train/loss"}),
        ("export_best", "accuracy"),
        ("compile", "yes"),
        ("compile", 1),
        ("memory_format", "nhwc"),
    ],
)
def test_what_is_out_of_range_is_refused(option: str, value: Any) -> None:
    assert all(where[:2] == ("training", option) for where in refusals({option: value}))


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ({"kind": "saved_activations"}, "saved_activations"),
        ({"kind": "checkpointing"}, "checkpointing"),
        ({"kind": "quantization", "mode": "qat"}, "quantization"),
    ],
)
def test_a_compiled_network_excludes_what_hangs_on_it(method: dict[str, Any], kind: str) -> None:
    (where, why), *others = refusals({"compile": True}, [method]).items()
    assert (where, others) == (("training", "compile"), [])
    assert why.startswith(f"excludes_{kind}: ")
    assert f"or remove {kind}" in why
    for choice in ("auto", False):
        JobSpec.model_validate(SMALL | {"training": {"compile": choice}, "compression": [method]})


def test_what_only_looks_at_the_answers_or_the_file_can_be_compiled() -> None:
    methods = [{"kind": "distillation", "job": "job_0123"}, {"kind": "quantization"}]
    JobSpec.model_validate(SMALL | {"training": {"compile": True}, "compression": methods})


def test_early_stopping_that_could_never_stop_is_refused() -> None:
    where = ("training", "early_stopping", "patience")
    assert refusals({"epochs": 10, "early_stopping": {"patience": 9}})[where].startswith("never_stops: ")
    JobSpec.model_validate(SMALL | {"training": {"epochs": 10, "early_stopping": {"patience": 8}}})

    rounding = [{"kind": "quantization", "mode": "qat", "start": 0.5}]
    told = refusals({"epochs": 10, "early_stopping": {"patience": 4}}, rounding)[where]
    assert "from epoch 6 on" in told
    JobSpec.model_validate(
        SMALL | {"training": {"epochs": 10, "early_stopping": {"patience": 3}}, "compression": rounding}
    )


def test_an_accuracy_never_rises_by_a_hundred_points() -> None:
    where = ("training", "early_stopping", "min_delta")
    assert refusals({"early_stopping": {"min_delta": 1}})[where].startswith("never_improves: ")
    JobSpec.model_validate(SMALL | {"training": {"early_stopping": {"metric": "val/loss", "min_delta": 1}}})
