"""The two executors of a plan make the same pixels: on photographs, for every kind alone and for lists of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_sample_images

from app.contract.augment import Augment
from app.contract.spec import kinds
from tests.support.pipelines import compiled
from tests.training_runs import WarmParent, trained
from worker.training import batched, geometry
from worker.training.augment import Pipeline, Plan
from worker.training.batched import Part, sources
from worker.training.executors import VARIABLE

Image = npt.NDArray[np.uint8]

pytestmark = pytest.mark.timeout(600)

SAMPLES = np.arange(24)
SIZE = {"kind": "resize", "size": [72, 88]}  # in front of what keeps sizes
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda", 0), marks=ON_GPU)]

# A level is 1/255 of full scale. Rounding is all that may differ: what is wrong shows as tens of levels.
MEAN_LEVELS, WORST_IMAGE_LEVELS = 0.1, 0.5

EXAMPLES = [(f"{kind}-{number}", [example] if "size" in example else [SIZE, example]) for kind, cls in kinds(Augment).items() for number, example in enumerate(cls.examples)]  # fmt: skip  # noqa: E501
BORDERS = ("reflect", "replicate", "constant")
STRONG: list[tuple[str, list[dict[str, Any]]]] = [
    *((f"turned, {border}", [SIZE, {"kind": "random_rotate", "degrees": 180, "border": border}]) for border in BORDERS),
    *((f"far out, {border}", [SIZE, {"kind": "random_affine", "scale": [0.1, 3], "translate": [0.9, 0.9], "shear": 40, "border": border}]) for border in BORDERS),  # noqa: E501
    *((f"shrunk to {side}", [{"kind": "resize", "size": [side, side + 3]}]) for side in (1, 7, 30, 90)),
    *((f"sigma {sigma}", [SIZE, {"kind": "gaussian_blur", "sigma": [sigma, sigma + 0.3], "probability": 0.7}]) for sigma in (0.1, 0.8, 3, 19)),  # noqa: E501
    *((f"covered by {fill}", [SIZE, {"kind": "random_erasing", "scale": [0.05, 0.6], "fill": fill, "probability": 0.8}]) for fill in ("mean", "noise", "black")),  # noqa: E501
    ("all colours", [SIZE, {"kind": "color_jitter", "brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5}]),
    ("many operations", [SIZE, {"kind": "rand_augment", "operations": 4, "magnitude": 30}]),
    ("one row", [{"kind": "resize", "size": [1, 50]}, {"kind": "gaussian_blur"}]),
]  # fmt: skip
LISTS: list[tuple[str, list[dict[str, Any]]]] = [
    ("crop, flips and turn", [
        {"kind": "random_crop", "size": [128, 128], "scale": [0.35, 1.0]},
        {"kind": "random_flip"}, {"kind": "random_flip", "axis": "vertical"}, {"kind": "random_rotate", "degrees": 30},
    ]),
    ("self-supervised", [
        {"kind": "random_crop", "size": [96, 96], "scale": [0.08, 1.0]}, {"kind": "random_flip"},
        {"kind": "color_jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "probability": 0.8},
        {"kind": "grayscale"}, {"kind": "gaussian_blur"},
    ]),
    ("everything", [
        {"kind": "random_crop", "size": [64, 96], "padding": 8, "border": "replicate"},
        {"kind": "random_affine", "shear": 10, "border": "constant", "probability": 0.5},
        {"kind": "trivial_augment"}, {"kind": "color_jitter", "contrast": 0.5}, {"kind": "rand_augment"},
        {"kind": "gaussian_blur"}, {"kind": "random_erasing", "fill": "mean"},
    ]),
]  # fmt: skip
POLICIES = [pytest.param(each, id=name) for name, each in [*EXAMPLES, *STRONG, *LISTS]]


@pytest.fixture(scope="module")
def photographs() -> list[Image]:
    """24 pieces of two photographs, of as many sizes, from a pixel to the whole."""
    generator, whole = np.random.default_rng(0), load_sample_images().images
    sides = [(1, 1), (1, 60), (50, 2), (427, 640), *generator.integers(8, (428, 641), (20, 2)).tolist()]
    corners = [generator.integers(0, (428 - height, 641 - width)) for height, width in sides]
    return [
        np.ascontiguousarray(whole[number % 2][top : top + height, left : left + width])
        for number, ((top, left), (height, width)) in enumerate(zip(corners, sides, strict=True))
    ]


def by_device(pipeline: Pipeline, images: Sequence[Image], plans: Sequence[Plan], device: torch.device) -> Image:
    """Each plan is that of the next images, as many as it has."""
    rest, parts = iter(images), []
    for plan in plans:
        part = [next(rest) for _ in plan.borders]
        cut = sources.cut(part, plan.matrices_N33, plan.borders, pipeline.size, pinned=device.type == "cuda")
        parts.append(Part(cut, plan.pixels))
    return batched.run(parts, pipeline.size, device).cpu().numpy()


def both(
    augmentations: Sequence[dict[str, Any]], images: Sequence[Image], device: torch.device, epoch: int = 0
) -> tuple[Image, Image]:
    pipeline = compiled(*augmentations)
    sizes = np.array([image.shape[:2] for image in images], float)
    chunks = np.array_split(SAMPLES[: len(images)], min(5, len(images)))
    plans = [pipeline.train_plan(sizes[chunk], chunk, epoch) for chunk in chunks]
    by_host = pipeline.train_NHWC(images, SAMPLES[: len(images)], epoch)
    return by_host, by_device(pipeline, images, plans, device)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("augmentations", POLICIES)
def test_photographs_come_out_the_same(
    augmentations: list[dict[str, Any]], channels: int, device: torch.device, photographs: list[Image]
) -> None:
    images = [np.ascontiguousarray(image[..., :channels]) for image in photographs]
    by_host, by_device = both(augmentations, images, device)
    levels_N = np.abs(by_host.astype(int) - by_device).mean(axis=(1, 2, 3))
    assert levels_N.mean() < MEAN_LEVELS
    assert levels_N.max() < WORST_IMAGE_LEVELS


WHOLE_PIXELS: list[list[dict[str, Any]]] = [
    *([{"kind": "random_crop", "size": [60, 70], "padding": 20, "border": border}] for border in BORDERS),
    *([{"kind": "center_crop", "size": [90, 33], "border": border}] for border in BORDERS),
    [{"kind": "random_crop", "size": [50, 50]}, {"kind": "random_flip"}, {"kind": "random_flip", "axis": "vertical"}],
    [{"kind": "center_crop", "size": [64, 64]}, {"kind": "random_erasing", "probability": 1, "fill": "noise"}],
    [{"kind": "center_crop", "size": [64, 64]}, {"kind": "random_erasing", "probability": 1, "fill": "mean"}],
]


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("augmentations", WHOLE_PIXELS, ids=str)
def test_where_whole_pixels_move_they_are_the_same_to_the_last_bit(
    augmentations: list[dict[str, Any]], device: torch.device, photographs: list[Image]
) -> None:
    by_host, by_device = both(augmentations, photographs, device)
    np.testing.assert_array_equal(by_device, by_host)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_numpys(quarters: int, device: torch.device, photographs: list[Image]) -> None:
    pipeline = compiled({"kind": "resize", "size": [301, 301]})
    image = photographs[3][:301, :301]
    centre = geometry.centres(geometry.repeat((301, 301), 1))
    turn = geometry.about(centre, geometry.rotation(np.array([quarters * np.pi / 2])))
    made = by_device(pipeline, [image], [Plan(turn, ["reflect"], [])], device)[0]
    np.testing.assert_array_equal(made, np.rot90(image, quarters))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_far_pixels_of_a_large_image_are_found_exactly(device: torch.device) -> None:
    """Their places are too large for 24 bits if they count from the image's corner as pixels of the whole."""
    image = np.random.default_rng(0).integers(0, 256, (9, 60_001, 3), np.uint8)
    pipeline = compiled({"kind": "resize", "size": [9, 40]})
    for left, mirrored in ((59_961, False), (59_961, True), (31_007, False)):
        flip = geometry.mirror(geometry.repeat((9, 40), 1), np.array([mirrored]), 0)
        plan = Plan(geometry.translation(np.array([[float(left), 0.0]])) @ flip, [None], [])
        made = by_device(pipeline, [image], [plan], device)[0]
        np.testing.assert_array_equal(made, image[:, left : left + 40][:, :: -1 if mirrored else 1])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_pixels_do_not_depend_on_which_images_share_a_batch(device: torch.device, photographs: list[Image]) -> None:
    augmentations = [each for name, each in LISTS if name == "everything"][0]  # noqa: RUF015 - a list, of which one
    pipeline = compiled(*augmentations)
    sizes = np.array([image.shape[:2] for image in photographs], float)

    def made(order: npt.NDArray[np.int64], pieces: int) -> Iterator[Image]:
        for piece in np.array_split(order, pieces):
            yield by_device(
                pipeline, [photographs[n] for n in piece], [pipeline.train_plan(sizes[piece], piece, 2)], device
            )

    together = np.concatenate(list(made(SAMPLES, 1)))
    order = np.random.default_rng(1).permutation(SAMPLES)
    np.testing.assert_array_equal(np.concatenate(list(made(order, 7))), together[order])
    np.testing.assert_array_equal(np.concatenate(list(made(SAMPLES, 24))), together)


RUN: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.3},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [
        {"kind": "random_crop", "size": [16, 16], "scale": [0.7, 1.0]},
        {"kind": "random_rotate", "degrees": 9},
        {"kind": "color_jitter", "brightness": 0.3, "contrast": 0.3},
        {"kind": "random_erasing", "probability": 0.2},
    ],
    "training": {"epochs": 2, "batch_size": 50, "optimizer": {"kind": "adamw", "learning_rate": 0.003}},
}


def test_a_run_whose_batches_the_device_makes_goes_like_one_with_the_hosts(warm: WarmParent, tmp_path: Path) -> None:
    host, device = (
        warm.run(RUN, tmp_path / place, meanwhile=trained(tmp_path / place), **{VARIABLE: place})
        for place in ("cpu", "device")
    )
    losses = [list(run.metric("train/loss").values()) for run in (host, device)]
    assert losses[0][0] == pytest.approx(losses[1][0], abs=0.01)
    assert losses[0][0] != losses[1][0]  # a level here and there: else one executor made both
    accuracies = [max(run.metric("val/accuracy").values()) for run in (host, device)]
    assert accuracies[0] > 0.5
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.1)


def test_a_setting_that_names_no_place_ends_the_run_with_its_name(warm: WarmParent, tmp_path: Path) -> None:
    run = warm.run(RUN, tmp_path / "run", **{VARIABLE: "gpu"})
    assert run.exit_code == 1
    assert VARIABLE in run.failure.message
