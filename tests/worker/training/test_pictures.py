"""PNG files and labelled sheets: exact pixels, the same bytes, and names that the font can show."""

import numpy as np
import pytest

from app.contract.previews import LEAST_SIDE
from tests.support.image_sets import picture
from worker.training import pictures
from worker.training.opencv import cv2
from worker.training.pictures import Tile

EDGE = 16  # paper around a sheet


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))


def test_a_png_has_the_pixels_that_it_was_made_of() -> None:
    image = picture(1, 31, 17)
    np.testing.assert_array_equal(decoded(pictures.png(image))[..., ::-1], image)
    np.testing.assert_array_equal(decoded(pictures.png(image[..., :1])), image[..., 0])


def test_the_same_image_is_the_same_file() -> None:
    assert pictures.png(picture(1)) == pictures.png(picture(1).copy()) != pictures.png(picture(2))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat", "cat"), ("T-shirt/top", "T-shirt/top"), ("café crème", "cafe creme"), ("Ångström", "Angstrom"),
        ("猫", "class 7"), ("кошка", "class 7"), ("straße", "class 7"), ("a\nb", "class 7"), ("\u200b", "class 7"),
        (" ", "class 7"), ("", "class 7"), ("\u0301", "class 7"), ("ﬁsh", "fish"), ("50%", "50%"),
    ],
)  # fmt: skip
def test_a_name_that_the_font_cannot_show_is_a_number(name: str, shown: str) -> None:
    assert pictures.caption(name, 7) == shown


def test_small_images_are_enlarged_pixel_by_pixel() -> None:
    image = picture(3, 8, 8)
    made = pictures.sheet([[Tile(image, ("3", "#1 epoch 0"))]])
    factor = LEAST_SIDE // 8
    shown = made[EDGE : EDGE + LEAST_SIDE : factor, EDGE : EDGE + LEAST_SIDE : factor]
    np.testing.assert_array_equal(shown, image)
    assert (made[EDGE + LEAST_SIDE + 2 :] < 255).any(), "there is text below"
    assert (made[:EDGE] == 255).all()


def test_large_images_stand_as_they_are_each_with_its_name() -> None:
    images = [picture(number, 100, 120) for number in range(6)]
    made = pictures.sheet(
        [[Tile(image, ("x",)) for image in images[:3]], [Tile(image, ("x",)) for image in images[3:]]]
    )
    found = sum(_holds(made, image) for image in images)
    assert found == 6


def _holds(sheet: np.ndarray, image: np.ndarray) -> bool:
    height, width = image.shape[:2]
    return any(
        np.array_equal(sheet[top : top + height, left : left + width], image)
        for top, left in np.argwhere((sheet == image[0, 0]).all(axis=2))
    )


def test_a_name_that_is_too_long_ends_where_its_image_does() -> None:
    image = np.zeros((96, 96, 1), np.uint8)
    short, long = (pictures.sheet([[Tile(image, (name,))]]) for name in ("W" * 5, "W" * 5000))
    assert short.shape == long.shape
    assert (long[:, EDGE + 96 :] == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 4096), (4096, 1), (97, 5)])
def test_no_shape_makes_a_sheet_that_is_larger_than_its_cells(size: tuple[int, int]) -> None:
    tile = Tile(np.zeros((*size, 3), np.uint8), ("name", "#1"))
    height, width, _ = pictures.sheet([[tile] * 2] * 2).shape
    cell = (max(size[0], LEAST_SIDE) + 50) * (max(size[1], LEAST_SIDE) + 50)
    assert height * width <= 2 * 2 * cell


def test_many_rows_stand_side_by_side() -> None:
    tile = Tile(np.zeros((96, 96, 3), np.uint8), ("name",))
    for rows in (1, 2, 7, 16, 64):
        height, width, _ = pictures.sheet([[tile] * 2] * rows).shape
        assert 0.5 < width / height < 4, rows
