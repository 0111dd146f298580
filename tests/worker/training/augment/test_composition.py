"""The list as a whole: one map for each image, and one border."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.job import JobSpec
from tests.support.pipelines import compiled
from worker.training import augment, geometry
from worker.training.draws import Draw
from worker.training.plugins import build

SAMPLES = np.arange(200)


POOL: list[dict[str, Any]] = [
    {"kind": "random_crop", "size": [24, 40], "scale": [0.3, 1.0]},
    {"kind": "random_crop", "size": [20, 20], "padding": 6},
    {"kind": "random_flip"},
    {"kind": "random_flip", "axis": "vertical"},
    {"kind": "random_rotate", "degrees": 50},
    {"kind": "resize", "size": [32, 16]},
]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(POOL), min_size=1, max_size=5), st.tuples(st.integers(1, 300), st.integers(1, 300)))
def test_the_map_of_a_list_is_its_steps_one_after_another(
    augmentations: list[dict[str, Any]], size: tuple[int, int]
) -> None:
    augmentations = [*augmentations, {"kind": "resize", "size": [17, 19]}]
    spec = JobSpec.model_validate(
        {
            "dataset": {"kind": "folder", "path": "x"},
            "model": {"kind": "timm", "name": "resnet10t"},
            "augment": augmentations,
        }
    )
    indices = np.array([3, 99])
    whole = augment.compile(spec).train_plan(geometry.repeat(size, 2), indices, 4).matrices_N33
    sizes, maps = geometry.repeat(size, 2), []
    for position, each in enumerate(spec.augment):
        step = build("augment", each)
        maps.append(step.matrices(Draw(0, 4, position, indices), sizes))
        sizes = geometry.repeat(step.size_out, 2) if step.size_out else sizes
    for sample in (0, 1):
        point = np.array([5.0, 7.0, 1.0])
        for matrices in reversed(maps):  # from the last output back to the source
            point = matrices[sample] @ point
        np.testing.assert_allclose(whole[sample] @ [5.0, 7.0, 1.0], point, atol=1e-6)


def test_a_list_without_a_size_gets_the_specs_default_in_front() -> None:
    plan = compiled({"kind": "random_flip", "probability": 1}).train_plan(
        geometry.repeat((50, 100), 1), np.arange(1), 0
    )
    corners = geometry.outline(plan.matrices_N33, (224, 224))[0]
    np.testing.assert_allclose(corners[[0, 3]], [[99.5, -0.5], [-0.5, 49.5]], atol=1e-9)


@pytest.mark.parametrize("border", ["reflect", "replicate", "constant"])
def test_the_border_is_that_of_the_first_step_that_leaves_its_image(border: str) -> None:
    rotate = {"kind": "random_rotate", "degrees": 20, "border": border}
    pad = {"kind": "random_crop", "size": [30, 30], "padding": 4, "border": "replicate"}
    sizes = geometry.repeat((30, 30), len(SAMPLES))
    plan = compiled(rotate, pad).train_plan(sizes, SAMPLES, 0)
    assert set(plan.borders) == {border}
    padded_first = compiled(pad, rotate).train_plan(sizes, SAMPLES, 0)
    moved = geometry.leaves(build("augment", JobSpec.model_validate({
        "dataset": {"kind": "folder", "path": "x"}, "model": {"kind": "timm", "name": "resnet10t"}, "augment": [pad],
    }).augment[0]).matrices(Draw(0, 0, 0, SAMPLES), sizes), (30, 30), sizes)  # fmt: skip
    assert moved.any()
    assert padded_first.borders == ["replicate" if leaves else border for leaves in moved]


def test_steps_that_stay_inside_need_no_border() -> None:
    crop = {"kind": "random_crop", "size": [20, 20]}
    plan = compiled(crop, {"kind": "random_flip"}).train_plan(geometry.repeat((30, 30), len(SAMPLES)), SAMPLES, 0)
    assert set(plan.borders) == {None}


def test_a_rotation_behind_a_crop_shows_the_real_surroundings() -> None:
    """No black corners where the source has pixels: the crop's window ends, the image does not."""
    crop = {"kind": "random_crop", "size": [40, 40]}
    rotate = {"kind": "random_rotate", "degrees": 90, "border": "constant"}
    image = np.full((120, 120, 3), 200, np.uint8)
    made = compiled(crop, rotate).train_NHWC([image] * 200, SAMPLES, 0)
    corners = geometry.outline(compiled(crop, rotate).train_plan(geometry.repeat((120, 120), 200), SAMPLES, 0).matrices_N33, (40, 40))  # fmt: skip  # noqa: E501
    inside = (corners >= 0).all(axis=(1, 2)) & (corners <= 119).all(axis=(1, 2))
    assert inside.sum() > 50
    assert (made[inside] == 200).all()
    assert (made[~inside] == 0).any()
