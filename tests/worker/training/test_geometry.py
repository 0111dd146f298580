"""Matrices as maps of points: what each must leave where it is, and that a product is the sequence."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from worker.training import geometry

Array = npt.NDArray[np.float64]

sizes = st.tuples(st.integers(1, 2_000), st.integers(1, 2_000))
angles = st.floats(-np.pi, np.pi)


def one(size: tuple[int, int]) -> Array:
    return geometry.repeat(size, 1)


def at(matrix_33: Array, x: float, y: float) -> Array:
    return (matrix_33 @ [x, y, 1])[:2]


def turned(size: tuple[int, int], angle: float) -> Array:
    return geometry.about(geometry.centres(one(size)), geometry.rotation(np.array([angle])))[0]


@given(sizes, angles)
def test_a_rotation_leaves_the_centre_and_all_distances(size: tuple[int, int], angle: float) -> None:
    centre = (size[1] - 1) / 2, (size[0] - 1) / 2
    np.testing.assert_allclose(at(turned(size, angle), *centre), centre, atol=1e-9)
    linear = turned(size, angle)[:2, :2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2), atol=1e-12)


@given(sizes)
def test_half_a_turn_is_the_double_flip(size: tuple[int, int]) -> None:
    both = [geometry.mirror(one(size), np.array([True]), axis)[0] for axis in (0, 1)]
    np.testing.assert_allclose(turned(size, np.pi), both[0] @ both[1], atol=1e-9)


def test_a_quarter_turn_goes_counter_clockwise_like_numpys() -> None:
    image = np.arange(25).reshape(5, 5)
    matrix = turned((5, 5), np.pi / 2)
    read = [[image[tuple(np.rint(at(matrix, x, y)).astype(int)[::-1])] for x in range(5)] for y in range(5)]
    np.testing.assert_array_equal(read, np.rot90(image))


@given(sizes, st.integers(0, 1))
def test_a_flip_is_its_own_inverse_and_only_where_asked(size: tuple[int, int], axis: int) -> None:
    flip, none = geometry.mirror(np.array([size, size], float), np.array([True, False]), axis)
    np.testing.assert_array_equal(flip @ flip, np.eye(3))
    np.testing.assert_array_equal(none, np.eye(3))
    last = size[1 - axis] - 1
    assert at(flip, 0, 0)[axis] == last


@given(sizes, sizes, st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_window_maps_edges_to_edges_and_stays_inside(
    size: tuple[int, int], size_out: tuple[int, int], place_x: float, place_y: float, height: float, width: float
) -> None:
    window = np.array([[size[0] * height, size[1] * width]])
    corner = np.array([[place_x * (size[1] - window[0, 1]), place_y * (size[0] - window[0, 0])]])
    matrices = geometry.window(corner, window, size_out)
    corners = geometry.outline(matrices, size_out)[0]
    np.testing.assert_allclose(corners[0], corner[0] - 0.5, atol=1e-9)
    np.testing.assert_allclose(corners[3], corner[0] + window[0, ::-1] - 0.5, atol=1e-9)
    assert not geometry.leaves(matrices, size_out, one(size))[0]


@given(sizes, sizes)
def test_a_window_of_everything_keeps_the_centre(size: tuple[int, int], size_out: tuple[int, int]) -> None:
    matrix = geometry.window(np.zeros((1, 2)), one(size), size_out)[0]
    centre_out = geometry.centres(one(size_out))[0]
    np.testing.assert_allclose(at(matrix, *centre_out), geometry.centres(one(size))[0], atol=1e-9)


@given(sizes, angles, st.floats(-50, 50), st.floats(-50, 50), st.floats(-30, 30), st.floats(-30, 30))
def test_a_product_maps_points_as_the_sequence_does(
    size: tuple[int, int], angle: float, dx: float, dy: float, x: float, y: float
) -> None:
    shift = geometry.translation(np.array([[dx, dy]]))[0]
    flip = geometry.mirror(one(size), np.array([True]), 0)[0]
    turn = turned(size, angle)
    in_turn = at(shift, *at(flip, *at(turn, x, y)))
    np.testing.assert_allclose(at(shift @ flip @ turn, x, y), in_turn, atol=1e-8)


def test_leaving_is_seen_at_each_edge_and_rounding_is_not_leaving() -> None:
    shifts = np.array([[0, 0], [1e-12, -1e-12], [0.1, 0], [-0.1, 0], [0, 0.1], [0, -0.1]])
    left = geometry.leaves(geometry.translation(shifts), (4, 6), geometry.repeat((4, 6), 6))
    assert left.tolist() == [False, False, True, True, True, True]
