"""What the host cuts out: enough, not much more, and joined in order."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.training import geometry
from worker.training.batched import sources
from worker.training.batched.sources import Sources

SIZE = (20, 30)


def cut(image: np.ndarray, matrix: np.ndarray) -> Sources:
    return sources.cut([image], matrix[None], [None], SIZE, pinned=False)


@settings(max_examples=30)
@given(st.integers(0, 900), st.integers(0, 1_900), st.floats(0.1, 2.4), st.floats(-0.2, 0.2))
def test_little_more_than_what_is_seen_is_packed(top: int, left: int, zoom: float, turn: float) -> None:
    image = np.zeros((1_000, 2_000, 3), np.uint8)
    scaled = np.array([[zoom, turn, left], [-turn, zoom, top], [0, 0, 1.0]])
    corners = geometry.outline(scaled[None], SIZE)[0]
    if (corners < -0.5).any() or (corners > (1_999.5, 999.5)).any():
        assert cut(image, scaled).sizes_N2.tolist()[0] != [0, 0]
        return
    seen = np.ptp(corners, axis=0)[::-1]
    assert (cut(image, scaled).sizes_N2[0] <= seen + 7).all()


def test_an_image_that_shrinks_is_packed_at_the_scale_that_is_read() -> None:
    image = np.zeros((1_000, 1_500, 3), np.uint8)
    matrix = geometry.window(np.zeros((1, 2)), geometry.repeat((1_000, 1_500), 1), SIZE)[0]
    packed = cut(image, matrix)
    assert packed.sizes_N2.tolist() == [[31, 46]]  # 33 times smaller: the last rows and columns are mirrored
    assert packed.pixels_PC.shape == (31 * 46, 3)


def test_joined_sources_lie_one_behind_the_other() -> None:
    values = [np.full((4 + n, 5, 1), n, np.uint8) for n in range(3)]
    each = [cut(image, np.eye(3)) for image in values]
    whole = sources.joined(each)
    assert whole.sizes_N2.tolist() == [[4, 5], [5, 5], [6, 5]]
    assert whole.borders == [None] * 3
    assert torch.equal(whole.pixels_PC[:, 0], torch.tensor([0] * 20 + [1] * 25 + [2] * 30, dtype=torch.uint8))
    assert whole.maps_N23.shape == (3, 2, 3)
