"""What holds for every augmentation, shown on the examples of its contract class."""

import subprocess
import sys
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import TypeAdapter

from app.contract.augment import Augment, Mixing
from app.contract.spec import kinds
from tests.support.pipelines import compiled
from worker.training.augment import Geometric
from worker.training.plugins import build

Image = npt.NDArray[np.uint8]

EXAMPLES = [pytest.param(example, id=f"{kind}-{number}") for kind, cls in kinds(Augment).items() for number, example in enumerate(cls.examples)]  # fmt: skip  # noqa: E501
DETERMINISTIC = {"resize", "center_crop", "normalize"}
MIXING = {cls.model_fields["kind"].default for cls in get_args(Mixing)}  # tests/worker/training/test_mixing.py
"""What they draw is done to labels too, behind the pipeline."""
MOVING = [
    example
    for example in EXAMPLES
    if isinstance(build("augment", TypeAdapter(Augment).validate_python(example.values[0])), Geometric)
    and example.values[0].get("border") != "constant"
]
SIZES = [(40, 40), (33, 57), (80, 35), (8, 8), (200, 301)]


def noise(channels: int = 3) -> list[Image]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*SIZES[n % len(SIZES)], channels), np.uint8) for n in range(20)]


INDICES = np.arange(20) * 17


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_all_sizes_come_out_as_the_network_reads_them(example: dict[str, Any], channels: int) -> None:
    pipeline = compiled(example)
    for made in (pipeline.train_NHWC(noise(channels), INDICES, 0), pipeline.evaluate_NHWC(noise(channels))):
        assert made.shape == (20, *pipeline.size, channels)
        assert made.dtype == np.uint8
        assert made.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_sample_looks_the_same_in_any_order_and_batch(example: dict[str, Any]) -> None:
    pipeline, images = compiled(example), noise()
    whole = pipeline.train_NHWC(images, INDICES, 3)
    order = np.random.default_rng(1).permutation(20)
    mixed = pipeline.train_NHWC([images[n] for n in order], INDICES[order], 3)
    np.testing.assert_array_equal(mixed, whole[order])
    alone = [compiled(example).train_NHWC([images[n]], INDICES[n : n + 1], 3)[0] for n in range(20)]
    np.testing.assert_array_equal(np.stack(alone), whole)


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_is_random_differs_by_epoch_seed_and_sample_and_nothing_else_does(example: dict[str, Any]) -> None:
    images = [noise()[1]] * 20
    made = compiled(example).train_NHWC(images, INDICES, 0)
    others = [
        compiled(example).train_NHWC(images, INDICES, 1),
        compiled(example, seed=1).train_NHWC(images, INDICES, 0),
        compiled(example).train_NHWC(images, INDICES + 1, 0),
    ]
    is_random = example["kind"] not in DETERMINISTIC | MIXING
    assert all((other != made).any() == is_random for other in others)
    assert (made != made[0]).any() == is_random


@pytest.mark.parametrize("example", EXAMPLES)
def test_evaluation_draws_nothing(example: dict[str, Any]) -> None:
    images = noise()
    made = compiled(example).evaluate_NHWC(images)
    np.testing.assert_array_equal(compiled(example, seed=1).evaluate_NHWC(images[::-1])[::-1], made)


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.values[0].get("fill") != "noise"])
def test_grey_is_the_same_in_one_channel_and_in_three(example: dict[str, Any]) -> None:
    gray = noise(1)
    made = compiled(example).train_NHWC([np.repeat(image, 3, axis=2) for image in gray], INDICES, 0)
    difference = made.astype(int) - compiled(example).train_NHWC(gray, INDICES, 0)
    # a colour map rounds each channel by itself
    assert np.abs(difference).max() <= (1 if example["kind"] == "color_jitter" else 0)


def test_the_kinds_that_move_pixels_are_found() -> None:
    assert len(MOVING) >= 8


@pytest.mark.parametrize("example", MOVING)
def test_an_even_image_stays_even(example: dict[str, Any]) -> None:
    images = [np.full((*size, 3), 77, np.uint8) for size in SIZES]
    assert (compiled(example).train_NHWC(images, np.arange(5), 0) == 77).all()


@pytest.mark.parametrize("example", EXAMPLES)
def test_sources_are_not_written_to(example: dict[str, Any]) -> None:
    images = noise()
    for image in images:
        image.setflags(write=False)
    compiled(example).train_NHWC(images, INDICES, 0)
    for image, original in zip(images, noise(), strict=True):
        np.testing.assert_array_equal(image, original)


def test_planning_and_running_need_no_torch() -> None:
    program = f"""
import sys
import numpy as np
from app.contract.job import JobSpec
from worker.training import augment, data, image_check
spec = JobSpec.model_validate({{"dataset": {{"kind": "folder", "path": "x"}}, "model": {{"kind": "timm", "name": "resnet10t"}},
    "augment": {[example.values[0] for example in EXAMPLES if example.values[0]["kind"] != "normalize"]!r}}})
augment.compile(spec).train_NHWC([np.zeros((9, 9, 3), np.uint8)], np.arange(1), 0)
sys.exit("torch" in sys.modules)
"""  # noqa: E501
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
