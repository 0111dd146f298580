"""The five augmentations against exact geometry: what the pixels must be, worked out without our code.

References: NumPy's slices, pads, flips and turns where whole pixels move; a direct float64 evaluation of the bilinear
tap; and an analytic image, whose mean over any pixel's area is known.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.support.pipelines import compiled
from worker.training import geometry, normalization, resample
from worker.training.augment import Pipeline
from worker.training.normalization import Normalization

Array = npt.NDArray[np.float64]

SAMPLES = np.arange(64)
PHOTO = (375, 500)


def noise(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


class Scene:
    """Waves in all directions, up to a third of a cycle a pixel, long ones stronger, as in photographs."""

    def __init__(self) -> None:
        generator = np.random.default_rng(3)
        logarithms, angles, self.phases = generator.uniform(
            [np.log(3), 0, 0], [np.log(60), 2 * np.pi, 2 * np.pi], (40, 3)
        ).T
        lengths = np.exp(logarithms)
        self.frequencies_W2 = (2 * np.pi / lengths * [np.cos(angles), np.sin(angles)]).T
        self.strengths = lengths**0.25
        self.strengths *= 127 / np.abs(self.exact(np.eye(3), PHOTO) - 127.5).max()

    def exact(self, matrix_33: Array, size: tuple[int, int]) -> Array:
        """The mean of the scene over the area of each output pixel, in closed form: a wave's is a wave, weaker."""
        y, x = np.mgrid[: size[0], : size[1]].astype(float)
        turns_W2 = self.frequencies_W2 @ matrix_33[:2, :2]
        phases = self.phases + self.frequencies_W2 @ matrix_33[:2, 2]
        kept = np.sinc(turns_W2 / (2 * np.pi)).prod(axis=1) * self.strengths
        waves = zip(turns_W2, phases, kept, strict=True)
        return 127.5 + sum(strength * np.sin(u * x + v * y + phase) for (u, v), phase, strength in waves)

    def photograph(self) -> npt.NDArray[np.uint8]:
        gray = np.rint(self.exact(np.eye(3), PHOTO)).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)


def stretched(left: float, top: float, height: float, width: float, size: tuple[int, int]) -> Array:
    """The map that shows a window, given by its edges from the image's left upper edge, at `size`: edges on edges.

    Pixel 0 covers 0 to 1 from that edge, so that its centre lies at a half.
    """
    x, y = width / size[1], height / size[0]
    return np.array([[x, 0, left + x / 2 - 0.5], [0, y, top + y / 2 - 0.5], [0, 0, 1]])


def turned(size: tuple[int, int], angle: float) -> Array:
    """The map that shows an image turned about the middle of its pixels."""
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y], [0, 0, 1]])


def test_the_closed_form_of_the_scene_is_the_mean_over_each_pixel() -> None:
    scene, taps = Scene(), (np.arange(16) + 0.5) / 16 - 0.5
    matrix = turned((61, 81), 0.4) @ np.diag([1.7, 1.6, 1])
    point = np.eye(3) * [1e-9, 1e-9, 1]  # a pixel without area: the value between the pixels
    by_taps = [scene.exact(matrix @ shift @ point, (1, 1)) for shift in geometry.translation(np.array([[5 + x, 9 + y] for x in taps for y in taps]))]  # fmt: skip  # noqa: E501
    np.testing.assert_allclose(np.mean(by_taps), scene.exact(matrix, (20, 20))[9, 5], atol=0.1)


def psnr(made: npt.NDArray, true: Array, margin: int = 0) -> float:
    inner = slice(margin, -margin or None)
    difference = made[inner, inner, 0].astype(float) - true[inner, inner]
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


@pytest.mark.parametrize(
    ("border", "mode"), [("reflect", "symmetric"), ("replicate", "edge"), ("constant", "constant")]
)
def test_pad_and_crop_is_numpys_pad_and_slice_at_every_place(border: str, mode: Any) -> None:
    pipeline = compiled({"kind": "random_crop", "size": [32, 32], "padding": 4, "border": border})
    image = noise(32, 32)
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode)
    seen = set()
    for epoch in range(16):
        for made in pipeline.train_NHWC([image] * 64, SAMPLES, epoch):
            place = next((y, x) for y in range(9) for x in range(9) if (padded[y : y + 32, x : x + 32] == made).all())
            seen.add(place)
    assert len(seen) == 81


def test_flips_are_numpys() -> None:
    image = noise(32, 32)
    for axis, flipped in (("horizontal", image[:, ::-1]), ("vertical", image[::-1])):
        pipeline = compiled({"kind": "resize", "size": [32, 32]}, {"kind": "random_flip", "axis": axis})
        made = pipeline.train_NHWC([image] * 64, SAMPLES, 0)
        is_flipped = (made == flipped).all(axis=(1, 2, 3))
        assert 16 < is_flipped.sum() < 48
        assert (made[~is_flipped] == image).all()


def test_half_a_turn_equals_the_double_flip_to_the_last_bit() -> None:
    for height, width in ((32, 32), (31, 47), (50, 20)):
        image, out = noise(height, width), np.empty((height, width, 3), np.uint8)
        centre = geometry.centres(geometry.repeat((height, width), 1))
        resample.warp(image, geometry.about(centre, geometry.rotation(np.array([np.pi])))[0], "reflect", out)
        np.testing.assert_array_equal(out, image[::-1, ::-1])


def test_each_pixel_is_the_bilinear_tap_computed_in_double_precision() -> None:
    image = noise(90, 120)
    pipeline = compiled({"kind": "random_crop", "size": [64, 64], "scale": [0.3, 1]}, {"kind": "random_rotate", "degrees": 40})  # fmt: skip  # noqa: E501
    plan = pipeline.train_plan(geometry.repeat((90, 120), 64), SAMPLES, 0)
    assert set(plan.borders) == {"reflect"}
    padded = np.pad(image.astype(float), ((150, 150), (150, 150), (0, 0)), "symmetric")
    y, x = np.mgrid[:64, :64].astype(float)
    for made, matrix in zip(pipeline.train_NHWC([image] * 64, SAMPLES, 0), plan.matrices_N33, strict=True):
        at_x, at_y = (matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] + 150 for row in (0, 1))
        left, top = np.floor(at_x).astype(int), np.floor(at_y).astype(int)
        right_share, lower_share = (at_x - left)[..., None], (at_y - top)[..., None]
        upper = padded[top, left] * (1 - right_share) + padded[top, left + 1] * right_share
        lower = padded[top + 1, left] * (1 - right_share) + padded[top + 1, left + 1] * right_share
        np.testing.assert_allclose(made, upper * (1 - lower_share) + lower * lower_share, atol=0.6)


def random_map(pipeline: Pipeline, sample: int) -> Array:
    return pipeline.train_plan(geometry.repeat(PHOTO, 1), np.array([sample]), 0).matrices_N33[0]


@pytest.mark.parametrize("size", [(224, 224), (112, 150), (48, 64), (600, 700)])
def test_resized_images_are_near_the_exact_image(size: tuple[int, int]) -> None:
    scene = Scene()
    pipeline = compiled({"kind": "resize", "size": list(size)})
    true = scene.exact(stretched(0, 0, *PHOTO, size), size)
    assert psnr(pipeline.evaluate_NHWC([scene.photograph()])[0], true, 2) > 37
    assert psnr(pipeline.train_NHWC([scene.photograph()], SAMPLES[:1], 0)[0], true, 2) > 37


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_turned_images_are_near_the_exact_image(sample: int) -> None:
    scene = Scene()
    same_size = {"kind": "random_crop", "size": list(PHOTO)}  # as large as the image
    pipeline = compiled(same_size, {"kind": "random_rotate", "degrees": 30})
    map_33 = random_map(pipeline, sample)
    true = scene.exact(turned(PHOTO, np.arctan2(map_33[1, 0], map_33[0, 0])), PHOTO)
    made = pipeline.train_NHWC([scene.photograph()], np.array([sample]), 0)[0]
    assert psnr(made, true, 100) > 40


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_randomly_resized_crops_are_near_the_exact_image(sample: int) -> None:
    scene = Scene()
    pipeline = compiled({"kind": "random_crop", "size": [224, 224], "scale": [0.35, 1.0]})
    made = pipeline.train_NHWC([scene.photograph()], np.array([sample]), 0)[0]
    assert psnr(made, scene.exact(random_map(pipeline, sample), (224, 224)), 2) > 45


def step_by_step(
    image: npt.NDArray[np.uint8], maps: list[Array], sizes: list[tuple[int, int]]
) -> npt.NDArray[np.uint8]:
    for matrix, size in zip(maps, sizes, strict=True):
        out = np.empty((*size, 3), np.uint8)
        resample.warp(image, matrix, "reflect", out)
        image = out
    return image


def test_one_resample_of_the_whole_list_is_nearer_to_the_exact_image_than_one_for_each_step() -> None:
    scene, size = Scene(), (224, 224)
    source = scene.photograph()
    window, resize, turn = (
        stretched(61.3, 40.2, 300.5, 310.7, (300, 300)),
        stretched(0, 0, 300, 300, size),
        turned(size, 0.3),
    )
    together = np.empty((*size, 3), np.uint8)
    resample.warp(source, window @ resize @ turn, "reflect", together)
    true = scene.exact(window @ resize @ turn, size)
    apart = step_by_step(source, [window, resize, turn], [(300, 300), size, size])
    assert psnr(together, true, 40) > 35
    assert psnr(together, true, 40) > psnr(apart, true, 40) + 6


def test_evaluation_shows_the_exact_centre() -> None:
    scene = Scene()
    source = scene.photograph()
    pipeline = compiled({"kind": "random_crop", "size": [224, 224], "scale": [0.35, 1]}, {"kind": "random_rotate", "degrees": 30})  # fmt: skip  # noqa: E501
    centre = stretched(62.5, 0, 375, 375, (224, 224))
    assert psnr(pipeline.evaluate_NHWC([source])[0], scene.exact(centre, (224, 224)), 2) > 35
    cut = compiled({"kind": "random_crop", "size": [100, 200], "padding": 10}).evaluate_NHWC([source])[0]
    np.testing.assert_array_equal(cut, source[137:237, 150:350])


def test_normalisation_is_the_formula_to_the_last_digits_of_double_precision() -> None:
    images = noise(20, 30)[None]
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    made = normalization.apply(torch.from_numpy(images), Normalization(mean, std), torch.float64)
    true = (images.astype(float) / 255 - mean) / std
    np.testing.assert_allclose(made.permute(0, 2, 3, 1).numpy(), true, rtol=0, atol=1e-14)
