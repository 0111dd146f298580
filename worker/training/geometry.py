"""Affine maps as 3x3 matrices from output pixels to source pixels, one for each image of a batch.

A point is (x, y, 1); the centre of the pixel in column 0 and row 0 is (0, 0), so an image covers x from -0.5 to
w - 0.5, and its centre is ((w - 1) / 2, (h - 1) / 2). With (w / 2, h / 2) a half turn would not be the exact double
flip. A size is (h, w), as in NumPy's shapes; sizes_N2 holds one for each image.
"""

# N = images in the batch

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Size = tuple[int, int]


def identity(count: int) -> Array:
    """Every pixel from its own place."""
    return np.tile(np.eye(3), (count, 1, 1))


def repeat(size: Size, count: int) -> Array:
    """The same size for each image."""
    return np.tile(np.array(size, np.float64), (count, 1))


def centres(sizes_N2: Array) -> Array:
    """The middle of each image, as N x (x, y)."""
    return (sizes_N2[:, ::-1] - 1) / 2


def translation(offsets_N2: Array) -> Array:
    """Output (0, 0) shows the source at `offsets`, given as (x, y)."""
    matrices_N33 = identity(len(offsets_N2))
    matrices_N33[:, :2, 2] = offsets_N2
    return matrices_N33


def about(centres_N2: Array, linear_N22: Array) -> Array:
    """A linear map that leaves `centres`, given as (x, y), where they are."""
    matrices_N33 = identity(len(linear_N22))
    matrices_N33[:, :2, :2] = linear_N22
    matrices_N33[:, :2, 2] = centres_N2 - np.einsum("nij,nj->ni", linear_N22, centres_N2)
    return matrices_N33


def rotation(angles_N: Array) -> Array:
    """N x 2 x 2 maps that show the source turned counter-clockwise, angles in radians; y grows downwards."""
    cos_N, sin_N = np.cos(angles_N), np.sin(angles_N)
    return np.stack([np.stack([cos_N, -sin_N], -1), np.stack([sin_N, cos_N], -1)], -2)


def shear(along_x_N: Array, along_y_N: Array) -> Array:
    """N x 2 x 2 maps of area 1: y gets a share of x, then x a share of y."""
    ones_N = np.ones_like(along_x_N)
    first_N2 = np.stack([ones_N + along_x_N * along_y_N, along_x_N], -1)
    return np.stack([first_N2, np.stack([along_y_N, ones_N], -1)], -2)


def mirror(sizes_N2: Array, flipped_N: npt.NDArray[np.bool_], axis: int) -> Array:
    """Left and right exchanged (`axis` 0, x) or top and bottom (`axis` 1, y), where `flipped` is true."""
    matrices_N33 = identity(len(sizes_N2))
    matrices_N33[flipped_N, axis, axis] = -1
    matrices_N33[flipped_N, axis, 2] = sizes_N2[flipped_N, 1 - axis] - 1
    return matrices_N33


def window(corners_N2: Array, windows_N2: Array, size_out: Size) -> Array:
    """A window of the source, scaled to `size_out`: whole pixels map to whole pixels, edges to edges.

    `corners`: the window's left upper edge as (x, y), counted from the left upper edge of the image, which is
    (-0.5, -0.5) in pixel centres. `windows`: its (h, w). Both may be fractions.
    """
    scales_N2 = windows_N2[:, ::-1] / np.array([size_out[1], size_out[0]], np.float64)
    matrices_N33 = identity(len(corners_N2))
    matrices_N33[:, 0, 0] = scales_N2[:, 0]
    matrices_N33[:, 1, 1] = scales_N2[:, 1]
    matrices_N33[:, :2, 2] = corners_N2 + (scales_N2 - 1) / 2
    return matrices_N33


def largest(sizes_N2: Array, aspects_N: Array) -> Array:
    """The largest (h, w) with w / h = aspect that lies inside each image."""
    heights_N = np.minimum(sizes_N2[:, 0], sizes_N2[:, 1] / aspects_N)
    return np.stack([heights_N, heights_N * aspects_N], -1)


def outline(matrices_N33: Array, size_out: Size | Array) -> Array:
    """Where the outer edges of the output lie in the source: N x 4 corners x (x, y)."""
    heights, widths = np.broadcast_to(np.asarray(size_out, np.float64), (len(matrices_N33), 2)).T
    left = np.full_like(widths, -0.5)
    xs = np.stack([left, widths - 0.5, left, widths - 0.5], -1)
    ys = np.stack([left, left, heights - 0.5, heights - 0.5], -1)
    points_N34 = np.stack([xs, ys, np.ones_like(xs)], 1)
    return (matrices_N33 @ points_N34)[:, :2].transpose(0, 2, 1)


def leaves(matrices_N33: Array, sizes_out: Size | Array, sizes_in_N2: Array) -> npt.NDArray[np.bool_]:
    """Whether the output shows anything beyond the source's edges. A billionth of a pixel is rounding, not beyond."""
    corners_N42 = outline(matrices_N33, sizes_out)
    limits_N12 = sizes_in_N2[:, None, ::-1] - 0.5
    beyond_N42 = (corners_N42 < -0.5 - 1e-9) | (corners_N42 > limits_N12 + 1e-9)
    return np.any(beyond_N42, axis=(1, 2))
