"""Geometry for any size and any draw, in both executors: exact where it can be, near the exact image elsewhere.

Images are NumPy's slices and turns where whole pixels move, an even image where only edges matter, and elsewhere the
analytic scene of test_geometry.py's kind: long waves, whose value is known at any place.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.augment import Border
from app.contract.job import JobSpec
from worker.training import augment, batched, geometry, resample
from worker.training.augment import Pipeline, Plan
from worker.training.batched import Part, sources
from worker.training.draws import Draw
from worker.training.plugins import build

pytestmark = pytest.mark.timeout(600)

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Warp = Callable[[Image, Array, tuple[int, int], Border | None], Image]


sides = st.integers(1, 70)
sizes = st.tuples(sides, sides)
channels = st.sampled_from([1, 3])


def by_host(image: Image, matrix: Array, size: tuple[int, int], border: Border | None) -> Image:
    out = np.empty((*size, image.shape[2]), np.uint8)
    resample.warp(image, matrix, border, out)
    return out


def by_device(image: Image, matrix: Array, size: tuple[int, int], border: Border | None) -> Image:
    cut = sources.cut([image], matrix[None], [border], size, pinned=False)
    return batched.run([Part(cut, [])], size, torch.device("cpu"))[0].numpy()


EXECUTORS = pytest.mark.parametrize("warp", [by_host, by_device], ids=["host", "device"])
FEW = settings(max_examples=25, deadline=None)


def noise(size: tuple[int, int], depth: int) -> Image:
    return np.random.default_rng(size[0] * 97 + size[1]).integers(0, 256, (*size, depth), np.uint8)


def one(size: tuple[int, int]) -> Array:
    return geometry.repeat(size, 1)


def flip(size: tuple[int, int], axis: int) -> Array:
    return geometry.mirror(one(size), np.array([True]), axis)[0]


def turn(size: tuple[int, int], angle: float) -> Array:
    return geometry.about(geometry.centres(one(size)), geometry.rotation(np.array([angle])))[0]


@EXECUTORS
@FEW
@given(sizes, channels, st.sampled_from(["reflect", "replicate", "constant", None]))
def test_half_a_turn_is_the_double_flip_to_the_last_bit(
    warp: Warp, size: tuple[int, int], depth: int, border: Border | None
) -> None:
    image = noise(size, depth)
    turned = warp(image, turn(size, np.pi), size, border)
    np.testing.assert_array_equal(turned, image[::-1, ::-1])
    np.testing.assert_array_equal(turned, warp(image, flip(size, 0) @ flip(size, 1), size, border))


@EXECUTORS
@FEW
@given(sizes, channels, st.sampled_from([0, 1]))
def test_a_flip_is_numpys_and_its_own_inverse(warp: Warp, size: tuple[int, int], depth: int, axis: int) -> None:
    image = noise(size, depth)
    once = warp(image, flip(size, axis), size, None)
    np.testing.assert_array_equal(once, np.flip(image, 1 - axis))
    np.testing.assert_array_equal(warp(once, flip(size, axis), size, None), image)


@EXECUTORS
@FEW
@given(sides, channels, st.integers(-3, 4), st.sampled_from(["reflect", "constant"]))
def test_quarter_turns_of_squares_are_exact(warp: Warp, side: int, depth: int, quarters: int, border: Border) -> None:
    image, size = noise((side, side), depth), (side, side)
    made = warp(image, turn(size, quarters * np.pi / 2), size, border)
    np.testing.assert_array_equal(made, np.rot90(image, quarters))


@EXECUTORS
@FEW
@given(sizes, st.sampled_from(["reflect", "replicate", "constant"]), st.floats(-4, 4), st.floats(0.3, 2.4), st.floats(-60, 60), st.floats(-60, 60))  # fmt: skip  # noqa: E501
def test_where_the_source_has_pixels_its_pixels_are_shown(
    warp: Warp, size: tuple[int, int], border: Border, angle: float, scale: float, right: float, down: float
) -> None:
    """An image of one value stays that up to its outermost pixels' centres, and beyond unless the border is black."""
    matrix = turn(size, angle) @ np.array([[scale, 0, right], [0, scale, down], [0, 0, 1]])
    made = warp(np.full((*size, 1), 200, np.uint8), matrix, (20, 25), border)[..., 0]
    y, x = np.mgrid[:20, :25].astype(float)
    at_x, at_y = (matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] for row in (0, 1))
    inside = (at_x >= 0) & (at_x <= size[1] - 1) & (at_y >= 0) & (at_y <= size[0] - 1)
    assert (made[inside] == 200).all()
    far_out = (at_x < -1.01) | (at_x > size[1] + 0.01) | (at_y < -1.01) | (at_y > size[0] + 0.01)
    assert (made[far_out] == (0 if border == "constant" else 200)).all()


def compiled(*augmentations: dict[str, Any]) -> Pipeline:
    return augment.compile(spec(*augmentations))


def spec(*augmentations: dict[str, Any]) -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset": {"kind": "folder", "path": "x"},
            "model": {"kind": "timm", "name": "resnet10t"},
            "augment": augmentations,
        }
    )


@FEW
@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(0, 3), st.tuples(st.integers(1, 9), st.integers(1, 9)))  # fmt: skip  # noqa: E501
def test_crops_reach_every_offset_the_first_and_the_last_included(
    size: tuple[int, int], padding: int, window: tuple[int, int]
) -> None:
    pipeline = compiled({"kind": "random_crop", "size": list(window), "padding": padding})
    maps = pipeline.train_plan(geometry.repeat(size, 4_000), np.arange(4_000), 0).matrices_N33
    np.testing.assert_array_equal(maps[:, :2, :2], np.tile(np.eye(2), (4_000, 1, 1)))
    for axis in (0, 1):
        rooms = size[1 - axis] + 2 * padding - window[1 - axis]
        offsets = set((maps[:, axis, 2] + padding).tolist())
        assert offsets == set(range(min(rooms, 0), max(rooms, 0) + 1))


POOL: list[dict[str, Any]] = [
    {"kind": "random_crop", "size": [24, 40], "scale": [0.3, 1.0]},
    {"kind": "random_crop", "size": [33, 20], "padding": 16, "border": "constant"},
    {"kind": "center_crop", "size": [50, 31]},
    {"kind": "random_flip"},
    {"kind": "random_rotate", "degrees": 180, "border": "replicate"},
    {"kind": "random_affine", "scale": [0.2, 5], "translate": [1, 1], "shear": 70},
    {"kind": "trivial_augment"},
    {"kind": "resize", "size": [17, 48], "fit": "cover"},
]


@FEW
@given(st.lists(st.sampled_from(POOL), max_size=4), st.sampled_from([0, 1, 2, 7]), st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=4), channels)  # fmt: skip  # noqa: E501
def test_any_list_makes_the_right_size_of_any_images(
    augmentations: list[dict[str, Any]], last: int, given_sizes: list[tuple[int, int]], depth: int
) -> None:
    pipeline = compiled(*augmentations, POOL[last])
    images = [noise(size, depth) for size in given_sizes]
    plan = pipeline.train_plan(np.array(given_sizes, float), np.arange(len(images)), 1)
    made = pipeline.run(images, plan)
    assert made.shape == (len(images), *pipeline.size, depth)
    assert made.dtype == np.uint8
    cut = sources.cut(images, plan.matrices_N33, plan.borders, pipeline.size, pinned=False)
    on_device = batched.run([Part(cut, plan.pixels)], pipeline.size, torch.device("cpu"))
    assert (tuple(on_device.shape), on_device.dtype) == (made.shape, torch.uint8)


class Waves:
    """Waves in all directions, of 3 to 60 pixels, long ones stronger, as in photographs; a value at every place."""

    def __init__(self, shortest: float) -> None:
        generator = np.random.default_rng(3)
        lengths = np.exp(generator.uniform(np.log(shortest), np.log(60), 40))
        angles = generator.uniform(0, 2 * np.pi, 40)
        self.phases = generator.uniform(0, 2 * np.pi, 40)
        self.turns_W2 = (2 * np.pi / lengths * [np.cos(angles), np.sin(angles)]).T
        self.strengths = 127 * lengths**0.25 / (lengths**0.25).sum() * 3

    def exact(self, matrix: Array, size: tuple[int, int]) -> Array:
        """The mean over the area of each output pixel, in closed form: a wave's is a wave, weaker."""
        y, x = np.mgrid[: size[0], : size[1]].astype(float)
        turns_W2 = self.turns_W2 @ matrix[:2, :2]
        phases = self.phases + self.turns_W2 @ matrix[:2, 2]
        kept = np.sinc(turns_W2 / (2 * np.pi)).prod(axis=1) * self.strengths
        waves = (strength * np.sin(u * x + v * y + phase) for (u, v), phase, strength in zip(turns_W2, phases, kept, strict=True))  # fmt: skip  # noqa: E501
        return np.clip(127.5 + sum(waves), 0, 255)

    def photograph(self, size: tuple[int, int]) -> Image:
        return np.rint(self.exact(np.eye(3), size)).astype(np.uint8)[..., None]


SMOOTH = Waves(shortest=16)


@EXECUTORS
@FEW
@given(st.floats(-3.1, 3.1), st.floats(-3.1, 3.1), st.floats(0.8, 1.25), st.floats(-9, 9), st.booleans())
def test_a_composition_is_the_sequence_within_the_error_of_resampling(
    warp: Warp, first: float, second: float, scale: float, shift: float, mirrored: bool
) -> None:
    size = (90, 90)
    one_step = turn(size, first)
    larger = geometry.about(geometry.centres(one(size)), scale * np.eye(2)[None])[0]
    another = turn(size, second) @ larger @ geometry.translation(np.array([[shift, -shift / 2]]))[0]
    another = flip(size, 0) @ another if mirrored else another
    image = SMOOTH.photograph(size)
    together = warp(image, one_step @ another, size, "reflect").astype(float)
    apart = warp(warp(image, one_step, size, "reflect"), another, size, "reflect")
    inner = (slice(35, 55),) * 2  # what both steps read inside the image
    assert np.abs(together - apart)[inner].mean() < 2.5
    assert np.abs(together[..., 0] - SMOOTH.exact(one_step @ another, size))[inner].mean() < 2.0


POLICY: list[dict[str, Any]] = [
    {"kind": "random_crop", "size": [224, 224], "scale": [0.35, 1.0]},
    {"kind": "random_flip"},
    {"kind": "random_flip", "axis": "vertical"},
    {"kind": "random_rotate", "degrees": 30},
]
PHOTO = (375, 500)


def psnr(made: Image, true: Array) -> float:
    inner = (slice(40, -40),) * 2  # no edge of the window shows there, however it was turned
    return float(10 * np.log10(255**2 / np.mean((made[..., 0].astype(float) - true)[inner] ** 2)))


@EXECUTORS
def test_the_plan_is_6_db_nearer_to_the_exact_image_than_the_steps_one_after_another(warp: Warp) -> None:
    """Random-resized crop to 224, both flips, rotation up to 30 degrees: means over eight samples."""
    waves, samples = Waves(shortest=3), np.arange(8)
    photograph = waves.photograph(PHOTO)
    plan: Plan = compiled(*POLICY).train_plan(geometry.repeat(PHOTO, 8), samples, 0)
    resolved = spec(*POLICY).resolved().augment[:-1]
    each, at = [], geometry.repeat(PHOTO, 8)
    for place, kind in enumerate(resolved):
        each.append(build("augment", kind).matrices(Draw(0, 0, place, samples), at))
        at = geometry.repeat((224, 224), 8)
    together, apart = [], []
    for n in samples:
        true = waves.exact(plan.matrices_N33[n], (224, 224))
        together.append(psnr(warp(photograph, plan.matrices_N33[n], (224, 224), plan.borders[n]), true))
        image = photograph
        for maps in each:
            image = warp(image, maps[n], (224, 224), "reflect")
        apart.append(psnr(image, true))
    assert np.mean(together) > np.mean(apart) + 6
