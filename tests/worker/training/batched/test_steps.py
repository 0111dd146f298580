"""Each step for a batch does to every image what it does to that image alone."""

import dataclasses
import inspect
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from worker.training import colour, pixels
from worker.training.batched import steps
from worker.training.colour import ColourMap
from worker.training.pixels import Blur, Equalize, Erase, PixelStep, Sharpen, Stretch, Table

Image = npt.NDArray[np.uint8]

GENERATOR = np.random.default_rng(5)
COUNT = 9
SOME = np.arange(COUNT) % 3 > 0  # and some not
PARTS = GENERATOR.uniform(0, 2, (4, COUNT))
BOXES = np.stack([*GENERATOR.integers(0, 9, (2, COUNT)), *GENERATOR.integers(1, 12, (2, COUNT))], 1) * SOME[:, None]

STEPS: list[PixelStep] = [
    Table(np.where(SOME[:, None], GENERATOR.integers(0, 256, (COUNT, 256)), np.arange(256)).astype(np.uint8)),
    Stretch(SOME),
    Equalize(SOME),
    Sharpen(np.where(SOME, PARTS[0], 1.0)),
    Blur(np.where(SOME, 4 * PARTS[1], 0.0)),
    colour.chain(colour.brightness(PARTS[0]), colour.contrast(PARTS[1]), colour.saturation(PARTS[2]), colour.hue(PARTS[3] - 1)),  # noqa: E501
    colour.saturation(np.where(SOME, 0.0, 1.0)),
    Erase(BOXES, "black", PARTS[0] / 2),
    Erase(BOXES, "noise", PARTS[0] / 2),
    Erase(BOXES, "mean", PARTS[0] / 2),
]  # fmt: skip
NAMES = [f"{number}-{type(step).__name__}" for number, step in enumerate(STEPS)]
ROUNDED = (Sharpen, ColourMap)
"""Their sums are of 32 bits here and in another order: half a level may go either way."""


def images(height: int, width: int, channels: int) -> Image:
    """Noise of little range, and one image of one value."""
    made = GENERATOR.integers(40, 200, (COUNT, height, width, channels)).astype(np.uint8)
    made[4] = 77
    return made


def inside(shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    """The boxes, as far as they lie in the image: a plan's always do."""
    ends = np.minimum(BOXES[:, :2] + BOXES[:, 2:], shape[:2])
    return np.hstack([BOXES[:, :2], np.maximum(ends - BOXES[:, :2], 0)])


def for_batch(step: PixelStep, source_NHWC: Image) -> Image:
    work = steps.prepare(step)
    changed = work.change(torch.from_numpy(source_NHWC[work.members_M]), *map(torch.from_numpy, work.numbers))
    made = source_NHWC.copy()
    made[work.members_M] = changed.numpy()
    return made


@pytest.mark.parametrize("shape", [(20, 21, 3), (20, 21, 1), (1, 30, 3), (30, 1, 1), (2, 2, 3), (1, 1, 3)], ids=str)
@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_a_batch_is_what_its_images_are_alone(step: PixelStep, shape: tuple[int, int, int]) -> None:
    if isinstance(step, Erase):
        step = dataclasses.replace(step, boxes_N4=inside(shape))
    source = images(*shape)
    alone = source.copy()
    for number, image in enumerate(alone):
        step.run(number, image)
    difference = np.abs(for_batch(step, source).astype(int) - alone)
    assert difference.max() <= (1 if isinstance(step, ROUNDED) else 0)
    assert (difference > 0).mean() < 0.1


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_the_images_of_these_tests_change_where_they_should_and_others_are_not_even_read(step: PixelStep) -> None:
    source, work = images(20, 21, 3), steps.prepare(step)
    changed = (for_batch(step, source) != source).any(axis=(1, 2, 3))
    assert changed[work.members_M].sum() >= len(work.members_M) - 1  # the image of one value may stay
    assert not np.delete(changed, work.members_M).any()
    assert all(len(number) == len(work.members_M) for number in work.numbers)


def test_every_step_that_a_plan_may_hold_has_a_form_for_batches() -> None:
    defined = [
        each
        for module in (pixels, colour)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if dataclasses.is_dataclass(each) and hasattr(each, "run")
    ]
    assert len(defined) >= 7
    assert set(defined) == {type(step) for step in STEPS}
    assert set(defined) <= set(steps.prepare.registry)


def test_an_unknown_step_says_where_its_form_is_missing() -> None:
    class Unknown:
        def run(self, number: int, image_HWC: Any) -> None: ...

    with pytest.raises(NotImplementedError, match="Unknown has no form"):
        steps.prepare(Unknown())


def test_the_gaussian_for_batches_is_within_a_level_of_the_exact_one() -> None:
    """Not only equal to OpenCV's: the weights are whole 256ths in both."""
    point = np.zeros((1, 41, 41, 1), np.uint8)
    point[0, 20, 20] = 255
    x = np.arange(41) - 20
    exact = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 2.3**2))
    made = for_batch(Blur(np.array([2.3])), point)[0, ..., 0]
    assert np.abs(made - 255 * exact / exact.sum()).max() <= 1
