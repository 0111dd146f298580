"""What a list drew, in a user's words: told by the steps that drew it, for the very plan that was run."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.contract.augment import Augment
from app.contract.spec import kinds
from tests.support.pipelines import compiled
from worker.training.augment import Explained

Image = npt.NDArray[np.uint8]

EXAMPLES = [pytest.param(example, id=f"{kind}-{number}") for kind, cls in kinds(Augment).items() for number, example in enumerate(cls.examples)]  # fmt: skip  # noqa: E501
DETERMINISTIC = {"resize", "center_crop", "normalize", "mixup", "cutmix"}
"""Before images are mixed, which is done behind the pipeline."""
INDICES = np.arange(60) * 7


def noise() -> list[Image]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (40 + n % 3, 50 + n % 5, 3), np.uint8) for n in range(len(INDICES))]


def explained(*entries: dict[str, Any], epoch: int = 2) -> Explained:
    return compiled(*entries).explain(noise(), INDICES, epoch)


@pytest.mark.parametrize("example", EXAMPLES)
def test_looking_at_it_changes_no_pixel(example: dict[str, Any]) -> None:
    made = explained(example)
    np.testing.assert_array_equal(made.images_NHWC, compiled(example).train_NHWC(noise(), INDICES, 2))
    plan = compiled(example).train_plan(np.array([image.shape[:2] for image in noise()], float), INDICES, 2)
    np.testing.assert_array_equal(made.plan.matrices_N33, plan.matrices_N33)
    assert made.plan.borders == plan.borders


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_kind_that_draws_tells_what_it_drew_for_each_image(example: dict[str, Any]) -> None:
    notes = explained({"kind": "resize", "size": [32, 32]}, example).notes
    if example["kind"] in DETERMINISTIC:
        assert notes == {}
        return
    assert list(notes) == [1]
    for name, values in notes[1].items():
        assert len(values) == len(INDICES), name
    assert any((values != values[0]).any() for values in notes[1].values())


def test_entries_of_one_kind_tell_apart_what_they_drew() -> None:
    turn = {"kind": "random_rotate", "degrees": 10}
    notes = explained(turn, turn).notes
    assert sorted(notes) == [1, 2]  # behind the resize that the spec is resolved with
    assert (notes[1]["degrees"] != notes[2]["degrees"]).all()


def test_what_is_told_of_a_turn_is_what_the_matrix_does() -> None:
    made = explained({"kind": "resize", "size": [40, 40]}, {"kind": "random_rotate", "degrees": 30, "probability": 0.5})
    degrees_N = made.notes[1]["degrees"]
    scales_N2 = np.array([image.shape[1::-1] for image in noise()]) / 40
    sines_N = made.plan.matrices_N33[:, 1, 0] / scales_N2[:, 1]
    np.testing.assert_allclose(np.rad2deg(np.arcsin(sines_N)), degrees_N, atol=1e-9)
    assert 0.2 < (degrees_N == 0).mean() < 0.8


def test_what_is_told_of_a_flip_is_what_the_matrix_does() -> None:
    made = explained({"kind": "random_flip"})
    np.testing.assert_array_equal(made.notes[1]["flipped"], made.plan.matrices_N33[:, 0, 0] < 0)


def test_what_is_told_of_a_window_is_what_is_seen() -> None:
    made = explained({"kind": "random_crop", "size": [16, 20], "padding": 4, "border": "constant"})
    for image, corner, shown in zip(noise(), made.notes[0]["top_left"].astype(int), made.images_NHWC, strict=True):
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        top, left = corner + 4
        np.testing.assert_array_equal(shown, padded[top : top + 16, left : left + 20])


def test_what_is_told_of_a_share_is_the_window_in_the_source() -> None:
    made = explained({"kind": "random_crop", "size": [16, 20], "scale": [0.3, 0.9]})
    heights, widths = made.notes[0]["height_width"].T
    np.testing.assert_allclose(made.plan.matrices_N33[:, 0, 0] * 20, widths)
    np.testing.assert_allclose(made.plan.matrices_N33[:, 1, 1] * 16, heights)
    corners_N3 = made.plan.matrices_N33 @ [-0.5, -0.5, 1]
    np.testing.assert_allclose(corners_N3[:, 1::-1] + 0.5, made.notes[0]["top_left"], atol=1e-9)


def test_what_is_told_of_a_cover_is_where_the_image_is_black() -> None:
    made = explained({"kind": "resize", "size": [32, 32]}, {"kind": "random_erasing", "fill": "black"})
    boxes = zip(made.notes[1]["top_left"].astype(int), made.notes[1]["height_width"].astype(int), strict=True)
    for (corner, size), image in zip(boxes, made.images_NHWC, strict=True):
        black_HW = (image == 0).all(axis=2)
        assert black_HW[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]].all()
        assert black_HW.sum() == size.prod()


def test_what_is_told_of_grey_and_of_colours_is_what_is_seen() -> None:
    grey = explained({"kind": "grayscale", "probability": 0.5})
    spread_N = np.ptp(grey.images_NHWC.astype(int), axis=3).max(axis=(1, 2))
    np.testing.assert_array_equal(grey.notes[1]["grey"], spread_N <= 1)
    bright = explained({"kind": "color_jitter", "brightness": 0.5})
    plain = explained({"kind": "resize", "size": [224, 224]}).images_NHWC
    expected = np.clip(plain * bright.notes[1]["brightness"][:, None, None, None], 0, 255)
    assert np.abs(bright.images_NHWC - expected).max() <= 1


def test_a_policy_names_its_operations() -> None:
    notes = explained({"kind": "rand_augment", "operations": 3}).notes[1]
    assert list(notes) == [f"{name}_{number}" for number in (1, 2, 3) for name in ("operation", "strength")]
    assert "shear_x" in notes["operation_1"]
    made = explained({"kind": "trivial_augment"})
    still = np.isin(made.notes[1]["operation"], ["brightness", "equalize", "identity"])
    straight = np.isclose(made.plan.matrices_N33[:, 0, 1], 0)
    assert straight[still].all()
    assert not straight[(made.notes[1]["operation"] == "rotate") & (made.notes[1]["strength"] != 0)].any()
