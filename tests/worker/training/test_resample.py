"""The CPU executor: exact copies, borders, and reductions that move nothing."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.augment import Border
from worker.training import geometry, resample

Image = npt.NDArray[np.uint8]

NUMPY_MODES = {"reflect": "symmetric", "replicate": "edge", "constant": "constant"}


def noise(height: int, width: int, channels: int = 3) -> Image:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)


def warped(image: Image, matrix: npt.NDArray, size: tuple[int, int], border: Border | None = None) -> Image:
    out = np.empty((*size, image.shape[2]), np.uint8)
    resample.warp(image, matrix, border, out)
    return out


def shift(x: float, y: float) -> npt.NDArray:
    return geometry.translation(np.array([[x, y]], float))[0]


@settings(deadline=None)
@given(st.integers(0, 11), st.integers(0, 7), st.sampled_from([1, 3]), st.booleans(), st.booleans())
def test_a_moved_or_mirrored_window_is_the_slice_itself(
    left: int, top: int, channels: int, across: bool, down: bool
) -> None:
    image = noise(17, 23, channels)
    flips = [geometry.mirror(geometry.repeat((10, 12), 1), np.array([do]), axis)[0] for axis, do in ((0, across), (1, down))]  # fmt: skip  # noqa: E501
    expected = image[top : top + 10, left : left + 12][:: -1 if down else 1, :: -1 if across else 1]
    np.testing.assert_array_equal(warped(image, shift(left, top) @ flips[0] @ flips[1], (10, 12)), expected)


@settings(deadline=None)
@given(st.integers(-40, 40), st.integers(-40, 40), st.sampled_from([*NUMPY_MODES]), st.booleans())
def test_beyond_the_edges_the_border_is_shown_exactly(left: int, top: int, border: Border, across: bool) -> None:
    image = noise(17, 23)
    padded = np.pad(image, ((60, 60), (60, 60), (0, 0)), NUMPY_MODES[border])  # type: ignore[call-overload]
    expected = padded[60 + top : 70 + top, 60 + left : 72 + left]
    flip = geometry.mirror(geometry.repeat((10, 12), 1), np.array([across]), 0)[0]
    made = warped(image, shift(left, top) @ flip, (10, 12), border)
    np.testing.assert_array_equal(made, expected[:, ::-1] if across else expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_quarter_and_half_turns_are_exact(channels: int) -> None:
    image = noise(31, 31, channels)
    for quarters in (1, 2, 3):
        turn = geometry.about(np.array([[15.0, 15.0]]), geometry.rotation(np.array([quarters * np.pi / 2])))[0]
        np.testing.assert_array_equal(warped(image, turn, (31, 31), "reflect"), np.rot90(image, quarters))


def test_stripes_finer_than_the_output_turn_grey_not_into_moire() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    image[:, ::2] = 255
    for by in (2, 3.1, 4.7, 9.3):
        size = (int(300 / by), int(300 / by))
        matrix = geometry.window(np.zeros((1, 2)), geometry.repeat((300, 300), 1), size)[0]
        made = warped(image, matrix, size).astype(float)
        assert abs(made.mean() - 127.5) < 2
        assert made.std() < 32, by


def test_an_axis_that_does_not_shrink_keeps_its_detail() -> None:
    image = np.zeros((400, 40, 3), np.uint8)
    image[:, 20:] = 255
    matrix = geometry.window(np.zeros((1, 2)), geometry.repeat((400, 40), 1), (40, 40))[0]
    np.testing.assert_array_equal(warped(image, matrix, (40, 40))[:, [19, 20]], [[[0] * 3, [255] * 3]] * 40)


@settings(deadline=None)
@given(st.integers(30, 90), st.integers(30, 90), st.floats(0, 1), st.floats(0, 1), st.floats(2.6, 7.9))
def test_reading_only_the_window_that_is_needed_changes_nothing_to_speak_of(
    height: int, width: int, x: float, y: float, shrink: float
) -> None:
    """A plane, whose box means and taps are exact, so that only a misplaced window could show."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    image = np.rint(columns * 1.5 + rows).astype(np.uint8)[..., None]
    size = 3, 3
    span = shrink * 3
    corner = np.array([[x * (width - span), y * (height - span)]])
    matrix = geometry.window(corner, np.array([[span, span]]), size)[0]
    centres = corner[0] - 0.5 + (np.arange(3)[:, None] + 0.5) * shrink
    exact = centres[:, 0][None, :] * 1.5 + centres[:, 1][:, None]
    np.testing.assert_allclose(warped(image, matrix, size)[..., 0], exact, atol=1.6)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3)])
@pytest.mark.parametrize("border", [None, "reflect", "replicate"])
def test_the_smallest_images_work(size: tuple[int, int], border: Border | None) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    matrix = geometry.window(np.zeros((1, 2)), geometry.repeat(size, 1), (16, 16))[0]
    assert (warped(image, matrix, (16, 16), border)[7:9, 7:9] == 90).all()
    turn = geometry.about(np.array([[7.5, 7.5]]), geometry.rotation(np.array([0.5])))[0]
    assert (warped(image, matrix @ turn, (16, 16), border) == 90).all()


def test_the_source_scale_grows_with_the_shrink() -> None:
    assert [resample.factor(shrink) for shrink in (0.1, 1, 1.5, 2.4, 2.6, 3.9, 4.1, 30)] == [1, 1, 1, 1, 2, 2, 3, 20]


@pytest.mark.parametrize("border", [*NUMPY_MODES])
def test_the_part_that_is_read_holds_all_that_is_shown_however_far_beyond_the_edges(border: Border) -> None:
    """Against a copy of the image that is wide enough to need no border."""
    image, room = noise(40, 52), 160
    padded = np.pad(image, ((room, room), (room, room), (0, 0)), NUMPY_MODES[border])  # type: ignore[call-overload]
    generator = np.random.default_rng(5)
    for angle, scale, x, y in generator.uniform([-3.2, 0.5, -60, -60], [3.2, 1.7, 90, 80], (200, 4)):
        turn = scale * geometry.rotation(np.array([angle]))
        matrix = shift(x, y) @ geometry.about(np.array([[14.5, 14.5]]), turn)[0]
        made = warped(image, matrix, (30, 30), border)
        expected = warped(padded, shift(room, room) @ matrix, (30, 30), border)
        assert np.abs(made.astype(int) - expected).max() <= 1  # OpenCV's coordinates are float32
