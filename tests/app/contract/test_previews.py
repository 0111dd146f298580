"""The request for a preview: which fields it has, which rules hold between them, and how much may be asked for."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.job import JobSpec
from app.contract.previews import LEAST_SIDE, MOST_PIXELS, PreviewSpec

DIGITS = {"kind": "builtin", "name": "digits"}
FOLDER = {"kind": "folder", "path": "flowers"}


def refusals(**changes: Any) -> dict[tuple[str | int, ...], str]:
    """Where and why a body is refused."""
    with pytest.raises(ValidationError) as caught:
        PreviewSpec.model_validate({"dataset": FOLDER, **changes})
    return {error["loc"]: error["type"] for error in caught.value.errors()}


@pytest.mark.parametrize("body", PreviewSpec.examples)
def test_every_example_is_read_and_resolved_to_something_that_stays_as_it_is(body: dict[str, Any]) -> None:
    resolved = PreviewSpec.model_validate(body).resolved()
    assert resolved.augment[-1].kind == "normalize"
    assert resolved.evaluation
    assert PreviewSpec.model_validate(resolved.model_dump(mode="json")).resolved() == resolved


def test_only_the_data_set_is_required() -> None:
    spec = PreviewSpec.model_validate({"dataset": DIGITS})
    assert (spec.count, spec.epochs, spec.seed, spec.channels) == (16, 1, 0, 3)
    assert spec.resolved().augment[0].model_dump() == {"kind": "resize", "size": (32, 32), "fit": "stretch"}
    assert refusals(dataset=None).keys() == {("dataset",)}


def test_it_is_resolved_as_the_job_with_the_same_fields_is() -> None:
    job = copy.deepcopy(JobSpec.examples[1]) | {"training": {"seed": 7, "batch_size": 64}}
    spec = PreviewSpec.model_validate({"dataset": job["dataset"], "augment": job["augment"], "seed": 7})
    expected = JobSpec.model_validate(job).resolved()
    made = spec.job().resolved()
    assert (made.augment, made.evaluation, made.image_size) == (
        expected.augment, expected.evaluation, expected.image_size,
    )  # fmt: skip
    assert (made.training.seed, made.dataset) == (7, expected.dataset)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 0), ("count", -1), ("count", 65), ("count", 10**9), ("count", 10**400), ("count", "4"),
        ("count", 4.5), ("count", True), ("count", float("nan")), ("count", None), ("epochs", 0), ("epochs", 9),
        ("seed", -1), ("seed", 2**53), ("channels", 2),
    ],
)  # fmt: skip
def test_numbers_have_bounds(field: str, value: Any) -> None:
    assert list(refusals(**{field: value})) == [(field,)]


def test_a_typo_is_refused_at_every_depth() -> None:
    flip = {"kind": "random_flip", "propability": 0.5}
    assert refusals(cuont=3, augment=[flip]) == {
        ("cuont",): "extra_forbidden",
        ("augment", 0, "random_flip", "propability"): "extra_forbidden",
    }


def test_the_rules_of_a_job_hold_with_the_same_places() -> None:
    late = [{"kind": "normalize"}, {"kind": "random_flip"}]
    assert refusals(augment=late) == {("augment", 1): "after_normalize"}
    crop = [{"kind": "random_crop", "size": [32, 32]}]
    assert refusals(dataset=DIGITS, augment=crop) == {("augment", 0, "size"): "larger_than_image"}
    means = [{"kind": "normalize", "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}]
    assert refusals(augment=means, channels=1) == {("augment", 0, "mean"): "length"}
    other = [{"kind": "resize", "size": [8, 8]}]
    assert refusals(evaluation=other) == {("evaluation",): "other_size"}


def test_a_list_of_a_thousand_augmentations_is_refused_at_once() -> None:
    assert refusals(augment=[{"kind": "random_flip"}] * 33) == {("augment",): "too_long"}
    assert refusals(augment=[{"kind": "random_flip"}] * 1000) == {("augment",): "too_long"}


@pytest.mark.parametrize(
    ("size", "count", "epochs", "fits"),
    [
        ([224, 224], 64, 1, True),
        ([224, 224], 64, 2, False),
        ([8, 8], 64, 8, True),
        ([1, 4096], 10, 1, True),
        ([1, 4096], 11, 1, False),
        ([4096, 4096], 1, 1, False),
        ([2048, 2048], 1, 1, True),
    ],
)
def test_all_images_together_have_a_bounded_number_of_pixels(
    size: list[int], count: int, epochs: int, fits: bool
) -> None:
    body = {"augment": [{"kind": "resize", "size": size}], "count": count, "epochs": epochs}
    if fits:
        PreviewSpec.model_validate({"dataset": FOLDER, **body})
    else:
        assert refusals(**body) == {("count",): "too_many_pixels"}
    height, width = (max(side, LEAST_SIDE) for side in size)
    assert (count * (1 + epochs) * height * width <= MOST_PIXELS) == fits


def test_the_refusal_says_how_many_fit() -> None:
    with pytest.raises(ValidationError, match="at most 55 fit"):
        PreviewSpec.model_validate({"dataset": FOLDER, "count": 64, "epochs": 2})
