"""Which images are reduced, by how much, and what they look like then."""

from typing import Any

import numpy as np
import pytest

from app.contract.job import JobSpec
from tests.support.image_sets import encoded, picture
from worker.training import augment, geometry, image_files, stored_size
from worker.training.closest_look import reduction_of
from worker.training.opencv import cv2
from worker.training.stored_size import PIXELS_LEFT

RESIZE = {"kind": "resize", "size": [224, 224]}
CROP = {"kind": "random_crop", "size": [224, 224], "scale": [0.25, 1.0]}
AFFINE = {"kind": "random_affine", "scale": [0.5, 2.0], "shear": 20}


def spec(*steps: dict[str, Any], **more: Any) -> JobSpec:
    body = {"dataset": {"kind": "folder", "path": "x"}, "model": {"kind": "timm", "name": "resnet10t"}}
    return JobSpec.model_validate(body | {"augment": list(steps)} | more)


@pytest.mark.parametrize(
    ("steps", "size", "factor"),
    [
        ([RESIZE], (375, 500), 1),
        ([RESIZE], (671, 3000), 1),
        ([RESIZE], (672, 672), 2),
        ([RESIZE], (3000, 4000), 8),
        ([], (3000, 4000), 8),
        ([CROP], (1200, 1200), 1),
        ([CROP], (1600, 1600), 2),
        ([AFFINE, RESIZE], (672, 672), 1),
        ([{"kind": "trivial_augment"}, RESIZE], (3000, 4000), 1),
        ([{"kind": "random_crop", "size": [224, 224]}], (3000, 4000), 1),
        ([{"kind": "center_crop", "size": [2000, 2000]}, RESIZE], (3000, 4000), 1),
        ([{"kind": "resize", "size": [448, 448]}, {"kind": "random_crop", "size": [224, 224]}], (3000, 4000), 4),
    ],
)
def test_the_factor_follows_from_the_closest_look(
    steps: list[dict[str, Any]], size: tuple[int, int], factor: int
) -> None:
    reduction = reduction_of(spec(*steps))
    assert reduction.factor(*size) == factor
    assert reduction.factor(*size[::-1]) == factor
    np.testing.assert_array_equal(reduction.factors(np.array([size, (8, 8)])), [factor, 1])


@pytest.mark.parametrize(
    "steps",
    [
        [CROP],
        [CROP, {"kind": "random_rotate", "degrees": 45}],
        [AFFINE, RESIZE],
        [RESIZE, AFFINE],
        [{"kind": "rand_augment"}, RESIZE],
        [RESIZE, {"kind": "trivial_augment"}],
        [{**CROP, "ratio": [0.2, 5.0]}],
    ],
)
def test_no_draw_looks_closer_than_the_pixels_that_are_left(steps: list[dict[str, Any]]) -> None:
    """Against the plan itself: the shortest step of the output in the source, over 2,000 images each."""
    for size in ((1900, 2400), (4000, 700), (5000, 5000)):
        made = spec(*steps)
        sizes_N2 = geometry.repeat(size, 2000)
        plan = augment.compile(made).train_plan(sizes_N2, np.arange(2000), 0)
        least = np.linalg.svd(plan.matrices_N33[:, :2, :2], compute_uv=False).min()
        factor = reduction_of(made).factor(*size)
        assert factor == 1 or least / factor >= PIXELS_LEFT * 0.999


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(160, 240), (161, 239), (97, 130)])
def test_a_reduced_image_has_the_means_of_blocks(extension: str, channels: int, size: tuple[int, int]) -> None:
    content = encoded(picture(3, *size), extension)
    whole_HWC = image_files.decode(content, channels)
    for factor in (2, 4, 8):
        steps = {"kind": "resize", "size": [min(size) * 2 // (3 * factor)] * 2}
        found_HWC, found_size = stored_size.decode(content, channels, reduction_of(spec(steps)))
        assert found_size == size
        assert found_HWC.shape == (-(-size[0] // factor), -(-size[1] // factor), channels)
        expected_HWC = image_files.reduced(whole_HWC, factor)
        inside = np.s_[: size[0] // factor, : size[1] // factor]
        assert np.abs(found_HWC[inside].astype(int) - expected_HWC[inside]).mean() < 1.0


def test_a_turned_jpeg_is_reduced_upright() -> None:
    exif = bytes.fromhex("ffe1002245786966000049492a000800000001001201030001000000060000000000000000")[:36]
    content = encoded(picture(3, 160, 240), ".jpg")
    turned = content[:2] + exif + content[2:]
    upright_HWC = image_files.decode(turned, 3)
    assert upright_HWC.shape == (240, 160, 3)
    reduction = reduction_of(spec({"kind": "resize", "size": [50, 50]}))
    found_HWC, size = stored_size.decode(turned, 3, reduction)
    assert (found_HWC.shape, size) == ((120, 80, 3), (240, 160))
    difference = np.abs(found_HWC.astype(int) - image_files.reduced(upright_HWC, 2))
    assert difference.mean() < 1.0


def test_the_header_of_a_jpeg_tells_its_size() -> None:
    for parameters in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]):
        content = cv2.imencode(".jpg", picture(1, 123, 45), parameters)[1].tobytes()
        assert image_files.jpeg_size(content) == (123, 45)
        assert all(image_files.jpeg_size(content[:end]) in (None, (123, 45)) for end in range(len(content)))
    assert image_files.jpeg_size(encoded(picture(1), ".png")) is None


def test_only_what_is_reduced_is_named() -> None:
    assert stored_size.digest(np.array([1, 1])) == ""
    assert len({stored_size.digest(np.array(each)) for each in ([1, 2], [2, 1], [2, 2], [1, 1])}) == 4
